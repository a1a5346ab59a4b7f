// How large a file is, for people.

const UNITS = ["bytes", "KB", "MB", "GB"];

/** @param {number} bytes */
export function sizeOf(bytes) {
  const power = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const digits = power > 1 ? 1 : 0;
  return `${(bytes / 1000 ** power).toFixed(digits)} ${UNITS[power]}`;
}
