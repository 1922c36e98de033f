// Dictionaries of the dictd server: an index of headwords and a text, usually compressed (.dict.dz is gzip
// with a table for random access, which any gzip reader passes over).
#pragma once

#include <filesystem>
#include <functional>
#include <optional>

#include "ropescope/text/corpus.h"

namespace ropescope {

struct DictdFiles {
  std::filesystem::path text;   ///< .dict.dz or .dict
  std::filesystem::path index;  ///< .index
};

/// The two files, from the name of either or the name without ending; nothing if `path` names no dictionary.
std::optional<DictdFiles> find_dictd(const std::filesystem::path& path);

/// As visit_documents(); false if `visit` ended it.
bool visit_dictd(const DictdFiles& files, const std::function<bool(const Document&)>& visit);

}  // namespace ropescope
