import fc from "fast-check";

/** `npm test` draws the same cases each time, so that a change alone can turn it red; `npm run test:soak` draws new ones. */
if (!process.env.CHAINRULE_SOAK) fc.configureGlobal({ seed: 20261123 });
