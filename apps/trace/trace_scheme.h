// Positions of `trace` under --scheme: from a layout, or given ids divided among channels as the scheme says.
#pragma once

#include <optional>
#include <string>

#include <ATen/core/Tensor.h>

#include "ropescope/models/decoder.h"
#include "ropescope/rope/encoding.h"

#include "flags.h"
#include "inputs/layout_input.h"

namespace ropescope::app::trace {

/// The flags --scheme, --layout, --layout-file.
struct SchemeFlags {
  std::optional<std::string> scheme;
  LayoutFlags layout;

  void bind(Flags& flags);
};

/// What --scheme comes to for a prompt: an encoding (layout), or a table of given ids, or neither (no --scheme).
struct TraceEncoding {
  std::optional<SequenceEncoding> sequence;
  std::optional<PassEncoding> prompt;  ///< of the whole prompt
  at::Tensor position_ids;             ///< [axes, 1, tokens]; undefined without --scheme
};

/// `given_ids`: [axes, batch, tokens] of the tokens file, or undefined. `of_images`: the layout that a
/// prompt's images make, or none. Throws UsageError for a layout of another length, for a layout beside given
/// ids or images, and for a scheme that needs a layout.
TraceEncoding trace_encoding(const SchemeFlags& flags, const EncodedModel& model, int64_t tokens,
                             const at::Tensor& given_ids, const std::optional<Layout>& of_images = {});

}  // namespace ropescope::app::trace
