-- What ranks print, as text and highlights.
local t = require("harness")
local output = require("pollinator.output")

local function text(raw)
  return (output.rendered(raw, {}))
end

local labelled = output.new(12)
local one = output.new(1)
local begun = { one:add(0, "first\nsec") }
local grown = { one:add(0, "ond\r") }
local first, _ = labelled:add(3, "a\nb")
t.tell({
  texts = {
    text("plain"),
    text("\27[1;31mred\27[0m"),
    text("\27]0;title\7shown"),
    text("\27[38;5;196mx\27[38;2;1;2;3my\27[K"),
    text("1 %\r 20 %\r100 %"),
    text("ends with\r"),
    text("half \27["),
  },
  begun = { begun[1][1].text, begun[2].text },
  grown = { #grown[1], grown[2].text },
  labelled = { first[1].text, labelled:finish()[1].text },
  base64 = vim.tbl_map(output.from_base64, { "aGVsbG8=", "aGVsbG8h", "aGVsbA==", "" }),
})
