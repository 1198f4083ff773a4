// A training run in a process of its own, to be killed. usage: train-worker.ts OPTIONS-AS-JSON
import { type TrainFileOptions, trainFile } from "../../src/training/index.ts";

await trainFile(JSON.parse(process.argv[2]!) as TrainFileOptions, { onProgress: ({ step }) => process.stdout.write(`${step}\n`) });
