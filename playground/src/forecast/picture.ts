/** An SVG of the page as a file of its own: what the style sheet says of it is written into its attributes, in the theme that is shown. */
export function svgFile(svg: SVGSVGElement, title: string): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  const [shown, copied] = [svg.querySelectorAll("*"), copy.querySelectorAll("*")];
  shown.forEach((element, index) => {
    const style = getComputedStyle(element);
    for (const name of attributes) {
      const value = style.getPropertyValue(name);
      if (value !== "") copied[index]!.setAttribute(name, value);
    }
    copied[index]!.removeAttribute("class");
  });
  for (const element of copy.querySelectorAll("[data-screen]")) element.remove();
  const { width, height } = svg.getBoundingClientRect();
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of [
    ["width", "100%"],
    ["height", "100%"],
    ["fill", getComputedStyle(document.documentElement).backgroundColor],
  ] as const)
    paper.setAttribute(name, value);
  const caption = document.createElementNS("http://www.w3.org/2000/svg", "title");
  caption.textContent = title;
  copy.prepend(caption, paper);
  return new XMLSerializer().serializeToString(copy);
}

const attributes = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size"];

/** An SVG as pixels, twice as many as it is wide. @throws Error where the browser can't draw it */
export async function pngFile(svg: string, { width, height }: { readonly width: number; readonly height: number }): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image(width * 2, height * 2);
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width * 2, height * 2];
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((resolve, reject) =>
      canvas.toBlob((blob) => (blob === null ? reject(new Error("the picture could not be drawn")) : resolve(blob)), "image/png"),
    );
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Hands a file to the person. */
export function download(name: string, content: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000); // the browser has begun by then
}
