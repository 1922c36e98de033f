// From a word to the ids of its parts: what the kinds of vocabulary have in common.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ropescope/text/merge_table.h"

namespace ropescope {

/// Working memory of any model; reusable, one for each thread.
struct SubwordScratch {
  /// Best way to reach a place of a word, for models that weigh whole cuts.
  struct Arrival {
    double score = 0;
    int32_t start = -1;  ///< -1: not reached yet
    int32_t id = -1;
  };
  MergeScratch merges;
  std::vector<Arrival> arrivals;
  std::vector<int32_t> cuts;
};

/// Immutable once built: share it between threads freely.
class SubwordModel {
 public:
  SubwordModel() = default;
  virtual ~SubwordModel() = default;
  SubwordModel(const SubwordModel&) = delete;
  SubwordModel& operator=(const SubwordModel&) = delete;

  /// Appends the ids of `word`.
  virtual void encode_word(std::string_view word, SubwordScratch& scratch,
                           std::vector<int32_t>& ids) const = 0;
  /// Bytes at the start of `word` (not empty) that may be encoded without the rest of it.
  virtual size_t independent_length(std::string_view word) const { return word.size(); }

  /// Largest id + 1.
  virtual int64_t size() const = 0;
  /// As stored; empty where no token has this id. `id` must lie in [0, size()).
  virtual const std::string& token(int64_t id) const = 0;
  /// Raw bytes that the token stands for, where the vocabulary is one of bytes; else the token itself.
  virtual const std::string& bytes(int64_t id) const { return token(id); }
  /// "byte-level BPE", "BPE on characters", "unigram".
  virtual std::string kind() const = 0;
};

}  // namespace ropescope
