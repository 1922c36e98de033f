// Sampling of q and k: the protocol of ID-Align (arXiv 2505.21465), figure 3: some texts, a few random
// query-key pairs for each layer of each text, taken before rotation. Beside it moments and distance
// profiles.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "ropescope/models/decoder.h"
#include "ropescope/probe/picks.h"
#include "ropescope/probe/samples.h"
#include "ropescope/probe/texts.h"

namespace ropescope {

struct SampleOptions {
  DrawRule draw;
  std::vector<int64_t> layers, heads;  ///< empty: all (layers_to_sample); heads are query heads
  std::optional<PickList> picks;       ///< taken instead of a draw, wherever they are
  bool moments = false;                ///< of `layers` x `heads`, without the tokens of draw.skip_first
  bool profile = false;                ///< of `layers` x `heads`, without the tokens of draw.skip_first
  int64_t tokens_per_pass = 2048;      ///< texts packed into one forward pass

  /// Throws UsageError for options that cannot be met by this model.
  void validate(const DecoderConfig& config) const;
};

/// Runs the texts through the decoder up to q and k of the last layer that is needed. They are taken where positions
/// enter: after a q/k norm that comes before the rotation, and before the rotation. Pairs depend on the seed, the text's
/// number and the layer only; vectors do not depend on packing beyond rounding. `done(n)` is called as n more texts are
/// through. Throws UsageError (layers_to_sample), InputError (picks outside their text), NumericsError (non-finite q or
/// k).
Samples sample_texts(const Decoder& decoder, const TextSet& texts, const SampleOptions& options,
                     const std::function<void(int64_t)>& done = {});

}  // namespace ropescope
