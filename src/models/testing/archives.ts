import { crc32, deflateRawSync, gzipSync } from "node:zlib";

/** One member of an archive written field by field, so that tests can lie in each of them. */
export interface ZipMember {
  readonly name: string;
  readonly content: Uint8Array;
  readonly deflate?: boolean;
  /** what the headers say instead of the truth */
  readonly claims?: { readonly sizeBytes?: number; readonly crc?: number; readonly unixMode?: number; readonly flags?: number };
}

/** A zip file (APPNOTE 6.3: local headers, central directory, end record). */
export function makeZip(members: readonly ZipMember[], claims: { entryCount?: number } = {}): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, deflate, claims: lies = {} } of members) {
    const data = deflate ? deflateRawSync(content) : Buffer.from(content);
    const common = Buffer.alloc(26); // the fields that both headers share, from "version needed" on
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(lies.flags ?? 0, 2);
    common.writeUInt16LE(deflate ? 8 : 0, 4);
    common.writeUInt32LE(lies.crc ?? crc32(content), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(lies.sizeBytes ?? content.length, 18);
    common.writeUInt16LE(Buffer.byteLength(name), 22);
    const local = Buffer.concat([Buffer.from("PK\x03\x04", "latin1"), common, Buffer.from(name), data]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE((((lies.unixMode ?? 0) << 16) >>> 0) as number, 6);
    tail.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from("PK\x01\x02\x14\x03", "latin1"), common, tail, Buffer.from(name)]));
    parts.push(local);
    offset += local.length;
  }
  const listing = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.write("PK\x05\x06", "latin1");
  end.writeUInt16LE(claims.entryCount ?? members.length, 8);
  end.writeUInt16LE(claims.entryCount ?? members.length, 10);
  end.writeUInt32LE(listing.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, listing, end]);
}

export interface TarMember {
  readonly name: string;
  readonly content: Uint8Array;
  /** "0" a file (the default), "2" a symbolic link, "5" a folder, "x" an extended header … */
  readonly type?: string;
  readonly claims?: { readonly sizeBytes?: number; readonly checksum?: number };
}

/** A tar file (POSIX ustar), not compressed. */
export function makeTar(members: readonly TarMember[]): Buffer {
  const blocks = members.map(({ name, content, type = "0", claims = {} }) => {
    const header = Buffer.alloc(512);
    header.write(name, 0, 100, "utf8");
    header.write("0000644\0", 100, "latin1");
    header.write(`${(claims.sizeBytes ?? content.length).toString(8).padStart(11, "0")}\0`, 124, "latin1");
    header.write("        ", 148, "latin1");
    header.write(type, 156, "latin1");
    header.write("ustar\u000000", 257, "latin1");
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${(claims.checksum ?? sum).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
  });
  return Buffer.concat([...blocks, Buffer.alloc(1024)]);
}

export function makeTarball(members: readonly TarMember[]): Buffer {
  return gzipSync(makeTar(members));
}
