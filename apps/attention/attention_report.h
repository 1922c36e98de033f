// What `ropescope attention` measured, on stdout.
#pragma once

#include <string>

#include "ropescope/analysis/attention_study.h"

namespace ropescope::app::attention {

void print_attention_json(const AttentionResult& result, const AttentionStudyOptions& options,
                          const std::string& output);
void print_attention_csv(const AttentionResult& result, const AttentionStudyOptions& options);
/// A line on what was measured, the table (columns that apply to no scheme left out), fading by text length.
void print_attention_text(const AttentionResult& result, const AttentionStudyOptions& options,
                          const std::string& output, bool markdown);

}  // namespace ropescope::app::attention
