// The mistakes that position ids are known to be made by: a table of what was reported in public, each with the rule that
// gives the wrong ids. One more mistake: one entry of known_mistakes().
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/audit/audited_prompt.h"
#include "ropescope/audit/id_rule.h"

namespace ropescope {

/// A record that differs from its model's rule.
struct AuditCase {
  const AuditedPrompt& prompt;
  IdWindow window;
  at::Tensor recorded;                     ///< [axes, B, count] float64
  at::Tensor expected;                     ///< the same, of the model's rule
  int64_t first_row = 0, first_token = 0;  ///< the first difference
  std::optional<double> source_fps;        ///< of the clips' files, where it is known
};

/// One way to make a mistake.
struct IdGuess {
  std::function<void(IdRule&)> change;
  std::string detail;  ///< what it takes to make it, where the record tells; may be empty
};

using Guesses = std::vector<IdGuess>;

struct IdMistake {
  std::string name;                  ///< "1-d-fallback"
  std::string sentence;              ///< what was done
  std::string symptom;               ///< how one notices
  std::vector<std::string> sources;  ///< public threads: "huggingface/transformers#45381"
  /// Two mistakes of one kind are not made at once.
  std::string kind;
  /// None where the case gives no occasion for it.
  Guesses (*guesses)(const AuditCase& of);
};

const std::vector<IdMistake>& known_mistakes();
/// By its name; throws InternalError for another.
const IdMistake& known_mistake(const std::string& name);

}  // namespace ropescope
