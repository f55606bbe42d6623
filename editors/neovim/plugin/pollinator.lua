-- The command, and what is looked at by itself: everything else is loaded when it is first needed.
if vim.g.loaded_pollinator then
  return
end
vim.g.loaded_pollinator = 1

vim.api.nvim_create_user_command("Pollinator", function(given)
  require("pollinator.commands").run(given.fargs)
end, {
  nargs = "*",
  desc = "Run this project, and look at its runs",
  complete = function(lead, line, position)
    return require("pollinator.commands").complete(lead, line:sub(1, position))
  end,
})

local group = vim.api.nvim_create_augroup("pollinator", { clear = true })

vim.api.nvim_create_autocmd({ "BufReadPost", "BufWritePost" }, {
  group = group,
  pattern = "project.yaml",
  callback = function(event)
    require("pollinator.problems").check_spec(event.buf)
  end,
})

-- Marks of a file that was not open when the run failed.
vim.api.nvim_create_autocmd("BufReadPost", {
  group = group,
  pattern = "*/cfs/*",
  callback = function(event)
    local problems = package.loaded["pollinator.problems"]
    if problems then
      problems.show_marks(event.buf)
    end
  end,
})
