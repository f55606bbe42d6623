-- What ranks print, as lines of a buffer with colours: bytes in, text and highlights out. No windows here.
local M = {}

-- A rank that prints no newline for so long gets one.
local LONGEST_LINE = 65536

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local VALUES = {}
for index = 1, #ALPHABET do
  VALUES[ALPHABET:byte(index)] = index - 1
end

--- The bytes of a base64 text.
--- @param text string
--- @return string
function M.from_base64(text)
  local bytes, bits, count = {}, 0, 0
  for index = 1, #text do
    local value = VALUES[text:byte(index)]
    if value then
      bits, count = bits * 64 + value, count + 6
      if count >= 8 then
        count = count - 8
        local byte = math.floor(bits / 2 ^ count)
        bits = bits - byte * 2 ^ count
        bytes[#bytes + 1] = string.char(byte)
      end
    end
  end
  return table.concat(bytes)
end

local NAMES = { "Black", "Red", "Green", "Yellow", "Blue", "Magenta", "Cyan", "White" }

-- Numbers of a colour sequence change the style.
local function changed(style, numbers)
  local colour, bold = style.colour, style.bold
  local codes = vim.split(numbers, "[;:]")
  local index = 1
  while index <= #codes do
    local code = tonumber(codes[index]) or 0
    if code == 0 then
      colour, bold = nil, false
    elseif code == 1 or code == 22 then
      bold = code == 1
    elseif code >= 30 and code <= 37 then
      colour = NAMES[code - 29]
    elseif code >= 90 and code <= 97 then
      colour = NAMES[code - 89]
    elseif code == 38 or code == 48 then
      -- One of 256 colours, or of all: not shown.
      index = index + (codes[index + 1] == "5" and 2 or 4)
    elseif code == 39 then
      colour = nil
    end
    index = index + 1
  end
  return { colour = colour, bold = bold }
end

local function group_of(style)
  if style.colour then
    return "PollinatorAnsi" .. style.colour
  end
  return style.bold and "PollinatorAnsiBold" or nil
end

--- A printed line as text with highlights; goes on in the style that the line before ended with.
--- @param raw string without its newline
--- @param style table
--- @return string text, table[] highlights { from, to, group } in bytes, table style at the end
function M.rendered(raw, style)
  -- What a carriage return goes back over is not seen; progress bars do that.
  raw = raw:gsub("\r+$", "")
  local text, spans, length = {}, {}, 0
  local position = 1
  while position <= #raw do
    local from = raw:find("[\r\27\8]", position)
    local piece = raw:sub(position, (from or #raw + 1) - 1)
    if piece ~= "" then
      local group = group_of(style)
      if group then
        spans[#spans + 1] = { length, length + #piece, group }
      end
      text[#text + 1], length = piece, length + #piece
    end
    if not from then
      break
    end
    if raw:sub(from, from) == "\r" then
      text, spans, length = {}, {}, 0
      position = from + 1
    else
      local _, after, numbers, kind = raw:find("^\27%[([%d;:?]*)[ -/]*([@-~])", from)
      if not after then
        -- A title, a link or half a sequence.
        _, after = raw:find("^\27%][^\7\27]*\7", from)
        if not after then
          _, after = raw:find("^\27%][^\7\27]*\27\\", from)
        end
      end
      if kind == "m" then
        style = changed(style, numbers)
      end
      position = (after or from) + 1
    end
  end
  return table.concat(text), spans, style
end

--- Takes what ranks print and says which lines of a buffer change.
local Output = {}
Output.__index = Output

--- @param ranks number how many there are: several are labelled
--- @return table
function M.new(ranks)
  local width = #tostring(math.max(0, ranks - 1))
  return setmetatable({ labelled = ranks > 1, width = width, begun = {}, styles = {} }, Output)
end

--- Whole lines, and the line that a single rank has begun.
---
--- @param rank number
--- @param data string
--- @return table[] ended lines { text, spans }, table|nil the line that was begun
function Output:add(rank, data)
  local raw = (self.begun[rank] or "") .. data
  local ended, from = {}, 1
  while true do
    local newline = raw:find("\n", from, true)
    if not newline then
      break
    end
    ended[#ended + 1] = self:_line(rank, raw:sub(from, newline - 1))
    from = newline + 1
  end
  local rest = raw:sub(from)
  if #rest > LONGEST_LINE then
    ended[#ended + 1] = self:_line(rank, rest)
    rest = ""
  end
  self.begun[rank] = rest
  return ended, self:unended()
end

--- The line that a single rank has begun: it is shown as it grows. Those of several wait for their end.
--- @return table|nil
function Output:unended()
  local rest = self.begun[0]
  if self.labelled or not rest or rest == "" then
    return nil
  end
  local text, spans = M.rendered(rest, self.styles[0] or {})
  return { text = text, spans = spans }
end

--- Last lines without a newline.
--- @return table[]
function Output:finish()
  local ended = {}
  for rank, rest in pairs(self.begun) do
    if rest ~= "" then
      ended[#ended + 1] = self:_line(rank, rest)
    end
  end
  self.begun = {}
  return ended
end

function Output:_line(rank, raw)
  local text, spans, style = M.rendered(raw, self.styles[rank] or {})
  self.styles[rank] = style
  if self.labelled then
    local label = ("[%" .. self.width .. "d] "):format(rank)
    for _, span in ipairs(spans) do
      span[1], span[2] = span[1] + #label, span[2] + #label
    end
    table.insert(spans, 1, { 0, #label, "PollinatorRank" })
    text = label .. text
  end
  return { text = text, spans = spans }
end

return M
