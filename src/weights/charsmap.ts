/**
 * Checks a SentencePiece `precompiled_charsmap`: a 32-bit size, a double array of that many bytes, then replacement strings, each
 * ended by a zero byte. libllama walks the array with the bytes of a text and throws, across the C border, where it points
 * outside; so every node a text can reach is visited here.
 *
 * @returns what is wrong, or undefined
 * @see Kanda et al. 2018, "Space- and Time-Efficient String Dictionaries"; SentencePiece, src/normalizer.cc
 */
export function charsmapFault(charsmap: Uint8Array): string | undefined {
  if (charsmap.length < 4) return "is too short for its own size";
  const view = new DataView(charsmap.buffer, charsmap.byteOffset, charsmap.length);
  const arrayBytes = view.getUint32(0, true);
  if (arrayBytes % 4 !== 0) return `has an array of ${arrayBytes} bytes, no multiple of 4`;
  if (4 + arrayBytes >= charsmap.length) return `has an array of ${arrayBytes} bytes and ${charsmap.length} bytes in all`;
  if (arrayBytes === 0) return undefined;
  if (charsmap.at(-1) !== 0) return "ends in a replacement without a terminator";
  const nodeCount = arrayBytes / 4;
  const replacementBytes = charsmap.length - 4 - arrayBytes;
  const node = (index: number) => view.getUint32(4 + 4 * index, true);
  const base = (packed: number) => ((packed >>> 10) << ((packed & 0x200) >> 6)) >>> 0;

  const visited = new Uint8Array(nodeCount);
  const open = [base(node(0))]; // where the children of a node begin: child c lies at (begin ^ c)
  while (open.length > 0) {
    const begin = open.pop()!;
    if ((begin | 0xff) >>> 0 >= nodeCount) return `leads to node ${(begin | 0xff) >>> 0} of ${nodeCount}`;
    if (visited[begin]) continue;
    visited[begin] = 1;
    for (let byte = 1; byte < 256; byte++) {
      const child = (begin ^ byte) >>> 0;
      const packed = node(child);
      if ((packed & 0x800000ff) >>> 0 !== byte) continue; // not a child of this node
      const next = (child ^ base(packed)) >>> 0;
      if ((packed >>> 8) & 1) {
        if (next >= nodeCount) return `leads to node ${next} of ${nodeCount}`;
        const replacement = node(next) & 0x7fffffff;
        if (replacement >= replacementBytes) return `has a replacement at byte ${replacement} of ${replacementBytes}`;
      }
      open.push(next);
    }
  }
  return undefined;
}
