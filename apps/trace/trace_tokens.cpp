#include "trace/trace_tokens.h"

#include "ropescope/core/errors.h"

#include "inputs/nested_numbers.h"

namespace ropescope::app {

namespace {

at::Tensor read_token_ids(const Json& json, const std::string& what) {
  const NestedNumbers numbers(json, what);
  if (numbers.sizes().empty() || numbers.sizes().size() > 2) {
    throw InputError("{}: expected [[id, ...], ...], found {} levels of lists", what, numbers.sizes().size());
  }
  at::Tensor ids = numbers.integers();
  return ids.dim() == 1 ? ids.unsqueeze(0) : ids;
}

void check_vocabulary(const at::Tensor& ids, int64_t vocab_size, const std::string& what) {
  const auto lowest = ids.min().item<int64_t>(), highest = ids.max().item<int64_t>();
  if (lowest < 0 || highest >= vocab_size) {
    throw InputError("{}: expected ids from 0 to {}, found {}", what, vocab_size - 1,
                     lowest < 0 ? lowest : highest);
  }
}

at::Tensor read_token_mask(const Json& json, const at::Tensor& ids, const std::string& what) {
  at::Tensor mask = NestedNumbers(json, what).integers();
  if (mask.dim() == 1) mask = mask.unsqueeze(0);
  if (mask.sizes() != ids.sizes()) {
    throw InputError("{}: expected the shape of input_ids [{}, {}], found another", what, ids.size(0),
                     ids.size(1));
  }
  if (mask.min().item<int64_t>() < 0 || mask.max().item<int64_t>() > 1) {
    throw InputError("{}: expected 0 (padding) and 1 (real token) only", what);
  }
  if (!mask.ne(0).any(1).all().item<bool>()) {
    throw InputError("{}: expected a real token in every row, found a row of padding", what);
  }
  return mask;
}

}  // namespace

TraceTokens parse_tokens_with_images(const Json& json, const std::string& what) {
  if (!json.is_object() || !json.contains("input_ids")) {
    throw InputError("{}: expected an object with \"input_ids\"", what);
  }
  const auto given = [&](const char* key) { return json.contains(key) && !json.at(key).is_null(); };
  TraceTokens tokens;
  tokens.input_ids = read_token_ids(json.at("input_ids"), what + ": input_ids");
  if (given("attention_mask")) {
    tokens.attention_mask =
        read_token_mask(json.at("attention_mask"), tokens.input_ids, what + ": attention_mask");
  }
  if (given("position_ids")) {
    tokens.position_ids = NestedNumbers(json.at("position_ids"), what + ": position_ids").doubles();
  }
  return tokens;
}

void fit_positions(TraceTokens& tokens, const std::string& what) {
  at::Tensor positions = tokens.position_ids;
  if (!positions.defined()) return;
  while (positions.dim() < 3) positions = positions.unsqueeze(0);
  const int64_t batch = tokens.input_ids.size(0), length = tokens.input_ids.size(1);
  const bool fits = positions.dim() == 3 && positions.size(2) == length &&
                    (positions.size(1) == batch || positions.size(1) == 1);
  if (!fits) {
    throw InputError(
        "{}: position_ids: expected [batch, tokens] or [axes, batch, tokens] with {} rows of {} tokens", what,
        batch, length);
  }
  tokens.position_ids = positions.expand({positions.size(0), batch, length}).contiguous();
}

TraceTokens parse_trace_tokens(const Json& json, int64_t vocab_size, const std::string& what) {
  TraceTokens tokens = parse_tokens_with_images(json, what);
  check_vocabulary(tokens.input_ids, vocab_size, what + ": input_ids");
  fit_positions(tokens, what);
  return tokens;
}

}  // namespace ropescope::app
