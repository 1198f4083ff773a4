/** How well a judge tells good answers from bad ones, on labelled pairs. */
export interface JudgeQuality {
  readonly judge: string;
  /** Prompts, each with a good and a bad answer. */
  readonly numPairs: number;
  /** The share of pairs of which the good answer has the higher score; a tie counts half. 0.5 is chance. */
  readonly share: number;
  /** Whether chance is within the 95 % interval of `share`, or above it. */
  readonly isAtChance: boolean;
  /** Mean scores, in [0, 1]. */
  readonly meanGood: number;
  readonly meanBad: number;
}
