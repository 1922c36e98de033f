// The file of --tokens: {"input_ids":[[...],...], "attention_mask":[[...],...]?, "position_ids":...?}.
#pragma once

#include <filesystem>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/core/json.h"

namespace ropescope::app {

struct TraceTokens {
  at::Tensor input_ids;       ///< int64 [B, T]
  at::Tensor attention_mask;  ///< int64 [B, T] of 0 and 1, or undefined
  at::Tensor position_ids;    ///< float64 [axes, B, T], or undefined
};

/// `what` names the file in errors. Rows must have one length; ids lie below `vocab_size`; the mask has the
/// shape of the ids and a real token in every row; position ids are [batch, tokens] or [axes, batch, tokens]
/// of any finite numbers, where a batch of 1 serves every row. Throws InputError.
TraceTokens parse_trace_tokens(const Json& json, int64_t vocab_size, const std::string& what);

/// The same before images are expanded: ids may lie anywhere, and position ids, which count the expanded
/// tokens, are as the file has them until fit_positions.
TraceTokens parse_tokens_with_images(const Json& json, const std::string& what);

/// `tokens.position_ids` for every row of `tokens.input_ids`, [axes, B, T]. Throws InputError.
void fit_positions(TraceTokens& tokens, const std::string& what);

}  // namespace ropescope::app
