// How the families that GGUF files name in tokenizer.ggml.pre cut text into words.
#pragma once

#include <string>
#include <vector>

namespace ropescope {

struct PreTokenizerFamily {
  const char* name;
  std::vector<const char*> patterns;  ///< each isolates its matches in what the ones before left
  bool nfc = false;
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
};

/// Throws InputError naming `what` and the known names.
const PreTokenizerFamily& find_family(const std::string& name, const std::string& what);

}  // namespace ropescope
