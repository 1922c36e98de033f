// Cuts a chat template into text, statements and expressions, and those into words.
#pragma once

#include <string>
#include <vector>

namespace ropescope::jinja {

struct Word {
  enum class Kind {
    kText,
    kPrintBegin,
    kPrintEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kNumber,
    kFloat,
    kString,
    kSign,
    kEnd
  };
  Kind kind = Kind::kEnd;
  std::string text;  ///< of a string: what it stands for
  int line = 1;
};

/// Ends with a kEnd. Throws Fault.
std::vector<Word> template_words(const std::string& source);

}  // namespace ropescope::jinja
