-- What :checkhealth says, and what is said where the program is missing.
local t = require("harness")

vim.cmd("checkhealth pollinator")
local good = t.lines(0)
require("pollinator").setup({ program = "no-such-program" })
vim.cmd("checkhealth pollinator")
local missing = t.lines(0)
vim.cmd("Pollinator run")
t.tell({ good = good, missing = missing, message = t.messages[#t.messages] })
