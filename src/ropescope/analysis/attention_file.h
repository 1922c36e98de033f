// The table of an attention study in its result file.
#pragma once

#include "ropescope/analysis/attention_study.h"

namespace ropescope {

/// Adds /attention/table/{scheme, number, mean, ci95_low, ci95_high, count, by_input}, with text lengths
/// /attention/text_lengths and /attention/<scheme>/fading, and attributes of /attention that say what each
/// number is.
void write_attention_table(ResultWriter& writer, const AttentionResult& result,
                           const AttentionStudyOptions& options);

/// What a reader must know about embeddings from a random projection.
inline constexpr const char* kUntrainedFeatures =
    "visual features are untrained (patches of the image through a fixed random projection): only effects of "
    "position may be read from this, not what a trained model sees";

}  // namespace ropescope
