import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef, useState } from "preact/hooks";

export interface PlotBox {
  readonly width: number;
  readonly height: number;
}

interface Props {
  readonly height: number;
  readonly label: string;
  readonly children: (box: PlotBox) => ComponentChildren;
}

/** An SVG as wide as its place, so that lines and letters keep their size. */
export function Plot({ height, label, children }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry!.contentRect.width)));
    observer.observe(place.current!);
    return () => observer.disconnect();
  }, []);
  return (
    <div class="plot" ref={place}>
      <svg width={width} height={height} role="img" aria-label={label}>
        {width > 0 && children({ width, height })}
      </svg>
    </div>
  );
}
