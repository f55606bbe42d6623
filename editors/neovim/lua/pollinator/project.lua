-- Which project a buffer is about, and what of it is not written yet.
local M = {}

--- The folder that holds project.yaml, upwards from a buffer's file; from the current folder for other buffers.
--- @param buffer number|nil
--- @return string|nil
function M.root(buffer)
  buffer = buffer or vim.api.nvim_get_current_buf()
  local known, root = pcall(vim.api.nvim_buf_get_var, buffer, "pollinator_root")
  if known then
    return root
  end
  local name = vim.api.nvim_buf_get_name(buffer)
  local from = vim.loop.cwd()
  if name ~= "" and vim.bo[buffer].buftype == "" then
    from = vim.fn.fnamemodify(name, ":p:h")
  end
  return M.above(from)
end

--- The nearest folder from here upwards that holds project.yaml, links resolved as the program does.
--- @param folder string
--- @return string|nil
function M.above(folder)
  folder = vim.loop.fs_realpath(folder) or folder
  while true do
    if vim.loop.fs_stat(folder .. "/project.yaml") then
      return folder
    end
    local parent = vim.fn.fnamemodify(folder, ":h")
    if parent == folder then
      return nil
    end
    folder = parent
  end
end

--- Write what is changed in buffers of files below a folder.
--- @param root string
function M.write(root)
  for _, buffer in ipairs(vim.api.nvim_list_bufs()) do
    local name = vim.api.nvim_buf_get_name(buffer)
    if vim.api.nvim_buf_is_loaded(buffer) and vim.bo[buffer].modified and vim.bo[buffer].buftype == "" then
      local path = vim.loop.fs_realpath(vim.fn.fnamemodify(name, ":h"))
      if path and vim.startswith(path .. "/", root .. "/") then
        vim.api.nvim_buf_call(buffer, function()
          vim.cmd("silent update")
        end)
      end
    end
  end
end

return M
