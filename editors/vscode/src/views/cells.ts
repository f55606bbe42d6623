// Rows and cells of a table in text, as RFC 4180 has them. Knows nothing of editors.

/** The first rows of a text; cells may be quoted, and then hold separators, quotes and line ends. */
export function cellsOf(text: string, separator: string, rowsAtMost: number): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = "";
  let quoted = false;
  const endRow = (): void => {
    row.push(cell);
    rows.push(row);
    row = [];
    cell = "";
  };
  for (let at = 0; at < text.length && rows.length < rowsAtMost; at += 1) {
    const character = text.charAt(at);
    if (quoted) {
      if (character !== '"') {
        cell += character;
      } else if (text.charAt(at + 1) === '"') {
        cell += '"';
        at += 1;
      } else {
        quoted = false;
      }
    } else if (character === '"' && cell === "") {
      quoted = true;
    } else if (character === separator) {
      row.push(cell);
      cell = "";
    } else if (character === "\n") {
      endRow();
    } else if (character !== "\r") {
      cell += character;
    }
  }
  if (rows.length < rowsAtMost && (cell !== "" || row.length > 0)) {
    endRow();
  }
  return rows;
}
