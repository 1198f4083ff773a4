import { render } from "preact";
import { App } from "./app.tsx";
import { start } from "./app-state.ts";

render(<App />, document.getElementById("app")!);
start();
