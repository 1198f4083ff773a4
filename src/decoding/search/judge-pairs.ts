/** A question with an answer that anybody would call good, and one that nobody would: wrong, beside the point, or broken. */
export interface JudgePair {
  readonly question: string;
  readonly good: string;
  readonly bad: string;
}

/** Written for this purpose. The two answers of a pair are of like length, so that a liking for long ones gains nothing. */
export const judgePairs: readonly JudgePair[] = [
  { question: "What is the capital of France?", good: "The capital of France is Paris.", bad: "The capital of France is London." },
  { question: "How many days does a week have?", good: "A week has seven days.", bad: "A week has twelve days." },
  { question: "What is 7 plus 5?", good: "7 plus 5 is 12.", bad: "7 plus 5 is 75." },
  { question: "What do bees make?", good: "Bees make honey and wax.", bad: "Bees make milk and steel." },
  { question: "Is ice hot or cold?", good: "Ice is cold.", bad: "Ice is hot." },
  {
    question: "Name three primary colors.",
    good: "Three primary colors are red, yellow and blue.",
    bad: "Three primary colors are Monday, table and seven.",
  },
  {
    question: "Why do we sleep?",
    good: "Sleep lets the body recover and helps the brain to store memories.",
    bad: "Sleep sleep sleep sleep sleep sleep sleep sleep sleep sleep sleep.",
  },
  {
    question: "How do I boil an egg?",
    good: "Put the egg into boiling water for about eight minutes, then cool it.",
    bad: "Put the egg into the freezer for about eight years, then paint it.",
  },
  { question: "Who wrote Hamlet?", good: "Hamlet was written by William Shakespeare.", bad: "Hamlet was written by a washing machine." },
  {
    question: "What should I do if I cut my finger?",
    good: "Clean the cut with water, press on it until it stops bleeding, and cover it.",
    bad: "Rub dirt into the cut, cut the other fingers too, and forget about it.",
  },
  {
    question: "What is the largest ocean on Earth?",
    good: "The Pacific Ocean is the largest ocean on Earth.",
    bad: "The bathtub is the largest ocean on the Moon.",
  },
  { question: "What do plants need to grow?", good: "Plants need light, water and air.", bad: "Plants need shoes, salt and noise." },
  {
    question: "Write a sentence about a dog.",
    good: "The dog ran across the garden to greet its owner.",
    bad: "dog the the dog garden of of the dog to to dog.",
  },
  { question: "What is the opposite of big?", good: "The opposite of big is small.", bad: "The opposite of big is big big." },
  {
    question: "How can I be polite to a guest?",
    good: "Welcome your guests, offer them something to drink, and listen to them.",
    bad: "Shout at your guests, take away their chairs, and lock the door.",
  },
  {
    question: "At what temperature does water freeze?",
    good: "Water freezes at 0 degrees Celsius.",
    bad: "Water freezes at 900 degrees Celsius.",
  },
  {
    question: "Translate 'good morning' into Spanish.",
    good: "'Good morning' is 'buenos días' in Spanish.",
    bad: "'Good morning' is 'banana night' in Spanish.",
  },
  { question: "What is half of ten?", good: "Half of ten is five.", bad: "Half of ten is fifty." },
  {
    question: "What does a doctor do?",
    good: "A doctor examines patients and treats their illnesses.",
    bad: "A doctor repairs bicycles and sells their wheels.",
  },
  {
    question: "Give me a tip for saving money.",
    good: "Write down what you spend each week and cut what you don't need.",
    bad: "Write down your bank password each week and send it to strangers.",
  },
  { question: "Which animal says meow?", good: "A cat says meow.", bad: "A bus says meow." },
  { question: "What year comes after 1999?", good: "The year 2000 comes after 1999.", bad: "The year 1850 comes after 1999." },
  {
    question: "What is a library for?",
    good: "A library lends books and gives people a place to read.",
    bad: "I don't know. I don't know. I don't know. I don't know.",
  },
  {
    question: "How do birds fly?",
    good: "Birds fly by flapping their wings, which push the air down.",
    bad: "Birds fly by eating stones, which are made of clouds and bread.",
  },
  { question: "What color is grass?", good: "Grass is usually green.", bad: "Grass is usually Tuesday." },
  {
    question: "Explain what a map is.",
    good: "A map is a drawing that shows where places are.",
    bad: "A map is a a is a map that is a map a is.",
  },
  { question: "How many legs does a spider have?", good: "A spider has eight legs.", bad: "A spider has no legs." },
  {
    question: "What can I cook with rice and vegetables?",
    good: "You can fry the rice with the vegetables, an egg and soy sauce.",
    bad: "You can fry the phone with the carpet, a lamp and old socks.",
  },
  { question: "Is the Sun a star?", good: "Yes, the Sun is a star.", bad: "No, the Sun is a fish." },
  {
    question: "How should I answer a rude email?",
    good: "Wait until you are calm, then write a short and friendly answer.",
    bad: "Wait until it is night, then write a long and threatening answer.",
  },
  { question: "What is ice made of?", good: "Ice is made of frozen water.", bad: "Ice is made of melted wood." },
  {
    question: "Suggest a name for a bakery.",
    good: "How about The Golden Loaf?",
    bad: "How about how about how?",
  },
];
