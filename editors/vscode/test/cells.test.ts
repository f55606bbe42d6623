// Tables in text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { cellsOf } from "../src/views/cells";

test("cells may be quoted and hold separators, quotes and line ends", () => {
  const text = 'a,b\r\n"1,5","said ""no""\nand left"\n,last';

  assert.deepEqual(cellsOf(text, ",", 10), [
    ["a", "b"],
    ["1,5", 'said "no"\nand left'],
    ["", "last"],
  ]);
});

test("no more rows than wanted are read", () => {
  assert.deepEqual(cellsOf("1\n2\n3\n", ",", 2), [["1"], ["2"]]);
});
