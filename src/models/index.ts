export { type BuiltEntry, built, type CatalogueEntry, catalogue, type ShippedEntry, shipped } from "./catalogue.ts";
export { type CutOptions, type CutReport, cutModel } from "./cut.ts";
export { defaultHome, hubFromEnvironment } from "./environment.ts";
export { families, familyOf } from "./families/index.ts";
export type { AttentionShape, Family, HalfBlock, ModelConfig, Pass, Transformer, WeightSource } from "./model.ts";
export { type Build, type Quantize, type ResolvedModel, type ResolveOptions, removeModel, resolveModel } from "./pull.ts";
export type { HubAccess } from "./sources/source.ts";
export { findInstalled, type InstalledModel, listModels } from "./store.ts";
export { TransferMeter, type TransferProgress } from "./transfer.ts";
