-- luacheck: the only linter of Lua in Debian, and it needs nothing but Lua.
std = "luajit"
globals = { "vim" }
max_line_length = 120
