#include "ropescope/eval/padded_rows.h"

#include <algorithm>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/models/decoder.h"

namespace ropescope::eval {

at::Tensor counted_positions(int64_t tokens) { return at::arange(tokens, at::kDouble).unsqueeze(0); }

PaddedRows pad_rows(const std::vector<const std::vector<int64_t>*>& ids,
                    const std::vector<at::Tensor>& positions, int64_t common) {
  size_t longest = 0;
  for (const auto* row : ids) longest = std::max(longest, row->size());
  const auto rows = static_cast<int64_t>(ids.size()), tokens = static_cast<int64_t>(longest);
  PaddedRows padded{at::zeros({rows, tokens}, at::kLong), at::zeros({rows, tokens}, at::kLong),
                    at::zeros({1, rows, tokens}, at::kDouble)};
  for (int64_t i = 0; i < rows; ++i) {
    const at::Tensor row = at::tensor(*ids[static_cast<size_t>(i)], at::kLong);
    const at::Tensor& place = positions[static_cast<size_t>(i)][0];
    const int64_t rest = row.size(0) - common;
    const auto copy = [&](int64_t to, int64_t from, int64_t count) {
      padded.input_ids[i].narrow(0, to, count).copy_(row.narrow(0, from, count));
      padded.attention_mask[i].narrow(0, to, count).fill_(1);
      padded.position_ids[0][i].narrow(0, to, count).copy_(place.narrow(0, from, count));
    };
    copy(0, 0, common);
    copy(tokens - rest, common, rest);
  }
  if (padded.attention_mask.ne(0).all().item<bool>()) padded.attention_mask = at::Tensor();
  return padded;
}

std::optional<at::Tensor> plain_positions(const SequenceEncoding& encoding, const DecoderConfig& config) {
  const Scheme& scheme = encoding.scheme();
  const Positions& positions = encoding.positions();
  if (scheme.changes_attention() || scheme.depends_on_layer()) return {};
  if (positions.coordinates.size(0) != 1 || depends_on_length(config)) return {};
  const int64_t tokens = positions.tokens();
  const at::Tensor all = encoding.coordinates(tokens + 2);
  const at::Tensor next = all.narrow(1, tokens - 1, 2).add(1);
  if (!at::equal(next, all.narrow(1, tokens, 2))) return {};
  const at::Tensor last = all.narrow(1, tokens - 1, 1);
  const PassEncoding plain = encoding_for(config, last.unsqueeze(1)), own = encoding.pass(tokens - 1, 1);
  for (int64_t l = 0; l < config.num_hidden_layers; ++l) {
    const RotaryTable &expected = plain.table(l), &found = own.table(l);
    if (expected.turns() != found.turns()) return {};
    if (found.turns() && !(at::equal(found.cos, expected.cos) && at::equal(found.sin, expected.sin)))
      return {};
  }
  return all.narrow(1, 0, tokens);
}

}  // namespace ropescope::eval
