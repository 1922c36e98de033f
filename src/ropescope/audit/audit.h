// Are recorded position ids those of a model's own rule? Where they first differ, and which known mistake they look like.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/audit/audited_prompt.h"
#include "ropescope/audit/id_mistakes.h"

namespace ropescope {

/// What was recorded.
struct IdRecord {
  at::Tensor ids;   ///< [axes of the rule, B, count] float64
  at::Tensor text;  ///< [1, B, count]: the row of text positions of transformers' four; undefined: none
  IdWindow window;
  std::optional<double> source_fps;
};

struct IdDifference {
  int64_t row = 0, token = 0;
  std::string axis;  ///< "t", "h", "w"; "id" of a model with one row; "text" of the row before the three
  double expected = 0, found = 0;
  std::string modality;  ///< "text", "image", "video", "generated"
  std::string where;     ///< "text", "image 0", "video 1", "generated"
};

struct LooksLike {
  std::vector<const IdMistake*> mistakes;  ///< one, or two that were made together
  std::string detail;
  double explains = 0;            ///< share of the compared tokens whose recorded ids the mistake gives
  double explains_differing = 0;  ///< the same of the tokens that differ from the rule
};

struct AuditReport {
  int64_t compared = 0, differing = 0, hidden = 0, generated = 0;  ///< tokens
  std::optional<IdDifference> first;
  std::vector<LooksLike> looks_like;  ///< what gives every id; else what gives most of the differing ones
  std::vector<std::string> warnings;  ///< what the rule itself does to such inputs
  bool equal() const { return differing == 0; }
};

/// Hidden tokens are not compared. Throws InputError for ids that are not finite or not of the prompt's shape.
AuditReport audit_ids(const AuditedPrompt& prompt, const IdRecord& record);

/// Where token `token` of `row` stands: "text", "image 0", "video 1", "generated"; and its modality.
std::string place_of(const AuditedPrompt& prompt, int64_t row, int64_t token);
std::string modality_of(const AuditedPrompt& prompt, int64_t row, int64_t token);

/// Names of the rows of a rule's ids.
std::vector<std::string> axis_names(int64_t axes);

}  // namespace ropescope
