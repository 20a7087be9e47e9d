-- The first word on every request and the last on every answer: correlation ids, errors in the caller's dialect, and
-- statuses that gRPC cannot say. EXPOSE_NODE is set by weft_common.envoy_config.

-- As weft_common.dialect_errors has it; a test compares the two.
local OPENAI_TYPES = {
  ["403"] = "permission_error",
  ["429"] = "rate_limit_error",
}
local OPENAI_CODES = {INVALID_REQUEST = "null", UNKNOWN_PATH = '"unknown_url"', INTERNAL = '"internal_error"'}
local ANTHROPIC_TYPES = {
  ["401"] = "authentication_error",
  ["403"] = "permission_error",
  ["404"] = "not_found_error",
  ["413"] = "request_too_large",
  ["429"] = "rate_limit_error",
  ["503"] = "overloaded_error",
  ["504"] = "timeout_error",
}

local SIXTYFOUR = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local DIGITS = {}
for position = 1, 64 do
  DIGITS[SIXTYFOUR:byte(position)] = position - 1
end

-- Four digits are three bytes; padding counts as zeros that are cut off again. Nil where the text is not base64.
local function decode_base64(text)
  local padding = #text:match("=*$")
  local digits = text:gsub("=", "A")
  if #digits % 4 ~= 0 or digits:find("[^%w+/]") then
    return nil
  end
  local bytes = digits:gsub("....", function(four)
    local a, b, c, d = four:byte(1, 4)
    local number = ((DIGITS[a] * 64 + DIGITS[b]) * 64 + DIGITS[c]) * 64 + DIGITS[d]
    return string.char(math.floor(number / 65536), math.floor(number / 256) % 256, number % 256)
  end)
  return bytes:sub(1, #bytes - padding)
end

-- Short and of harmless characters: the id goes into logs of ours and of others.
local function is_sane(id)
  return id ~= nil and id ~= "" and #id <= 128 and not id:find("[^%w._:/+=@-]")
end

function envoy_on_request(handle)
  local headers = handle:headers()
  if not is_sane(headers:get("x-correlation-id")) then
    headers:replace("x-correlation-id", headers:get("x-request-id"))
  end
end

-- Who answered goes into the access log. The route tells the address, and Check told who is at which of the picked
-- ones: `ADDRESS ADDRESS NODE REPLICA,ADDRESS NODE REPLICA`.
local function note_server(handle, headers)
  local served = headers:get("x-weft-served")
  if served == nil then
    return
  end
  headers:remove("x-weft-served")
  headers:remove("x-weft-node")  -- a replica's own word would count for nothing
  local address, picked = served:match("^(%S+) (.+)$")
  for candidate, node, replica in (picked or ""):gmatch("([^ ,]+) ([^ ,]+) ([^ ,]+)") do
    if candidate == address then
      local metadata = handle:streamInfo():dynamicMetadata()
      metadata:set("weft", "node", node)
      metadata:set("weft", "replica", replica)
      if EXPOSE_NODE then
        headers:replace("x-weft-node", node)
      end
      return
    end
  end
end

-- Bodies of errors by dialect; `message` is in JSON's escapes already.
local BODIES = {}

function BODIES.openai(status, message, reason)
  local code = reason and (OPENAI_CODES[reason] or '"' .. reason:lower() .. '"') or "null"
  local kind = OPENAI_TYPES[status] or (status >= "500" and "server_error" or "invalid_request_error")
  return '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":null,"code":' .. code .. "}}"
end

function BODIES.anthropic(status, message, _, headers)
  local kind = ANTHROPIC_TYPES[status] or (status >= "500" and "api_error" or "invalid_request_error")
  local id = headers:get("request-id")
  return '{"type":"error","error":{"type":"' .. kind .. '","message":"' .. message
    .. '"},"request_id":' .. (id and '"' .. id .. '"' or "null") .. "}"
end

function BODIES.ollama(_, message)
  return '{"error":"' .. message .. '"}'
end

function BODIES.jina(_, message)
  return '{"detail":"' .. message .. '"}'
end

function BODIES.cohere(_, message)
  return '{"message":"' .. message .. '"}'
end

-- What the transcoder makes of a gRPC error that nobody put into a dialect's words: google.rpc.Status. The message stays
-- in its JSON escapes. Anything else (refusals from Check, Envoy's own answers) is in shape already.
local function shaped_error(shape, status, body, headers)
  local message = body:match('^{"code":%d+,"message":"(.-)","details":%[')
  if message == nil then
    return nil
  end
  return BODIES[shape](status, message, body:match('"reason":"([A-Z_]+)"'), headers)
end

-- Only errors and empty answers reach this: holding the body of a stream would break it.
local function reshape(handle, shape, status, error_body)
  local body = handle:body(true)
  if error_body ~= nil then
    body:setBytes(error_body)
  elseif status == "204" then
    body:setBytes("")
  elseif BODIES[shape] ~= nil then
    local shaped = shaped_error(shape, status, body:getBytes(0, body:length()), handle:headers())
    if shaped ~= nil then
      body:setBytes(shaped)
    end
  end
end

-- What stands between a client and us may keep neither an answer for another page's origin nor a stream for itself.
local function note_for_proxies(headers)
  if headers:get("access-control-allow-origin") ~= nil then
    headers:add("vary", "Origin")
  end
  local content_type = headers:get("content-type")
  if content_type == "text/event-stream" or content_type == "application/x-ndjson" then
    headers:replace("cache-control", "no-cache")
    headers:replace("x-accel-buffering", "no")  -- nginx
  end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  note_server(handle, headers)
  note_for_proxies(headers)
  local override = headers:get("x-weft-http-status")
  local encoded = headers:get("x-weft-error")
  headers:remove("x-weft-http-status")
  headers:remove("x-weft-error")
  local shape = handle:metadata():get("shape")
  if shape == nil then
    return  -- gRPC: status and details say it all
  end
  if override ~= nil and override:find("^[2-5]%d%d$") then
    headers:replace(":status", override)
  end
  local status = headers:get(":status")
  if status == "204" then
    headers:remove("content-type")
  elseif status < "400" then
    return
  end
  local error_body = encoded and decode_base64(encoded)
  if error_body then
    headers:replace("content-type", "application/json")
  end
  reshape(handle, shape, status, error_body)
end
