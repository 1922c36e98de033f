// Which query-key pairs are taken: drawn at random, or given one by one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ropescope {

/// All counted from 0. `text` counts the texts that are used; `query` and `key` are token indices in it.
struct Pick {
  int64_t text = 0;
  int64_t layer = 0;
  int64_t head = 0;  ///< query head
  int64_t query = 0;
  int64_t key = 0;
  bool operator==(const Pick&) const = default;
};

struct DrawRule {
  int64_t pairs = 10;      ///< per layer of each text, with replacement
  bool causal = false;     ///< only key <= query; uniform over such pairs
  int64_t skip_first = 0;  ///< neither query nor key among the first tokens (attention sinks)
  uint64_t seed = 0;
};

/// Pairs of one layer of one text (`tokens` long): head uniform in `heads`, query and key uniform over
/// tokens. Depends on (seed, text, layer) and the arguments only. Throws InternalError if no token is left to
/// draw.
std::vector<Pick> draw_picks(const DrawRule& rule, int64_t text, int64_t layer, int64_t tokens,
                             const std::vector<int64_t>& heads);

/// Picks of a file, and where each stands in it.
struct PickList {
  std::vector<Pick> picks;
  std::vector<int64_t> lines;  ///< counted from 1
  std::string file;
};

/// CSV with a header naming the columns text,layer,head,query,key (any order, others ignored). Order is kept.
/// Throws InputError naming file and line.
PickList read_picks(const std::filesystem::path& path);

/// Throws InputError naming file and line of the first pick that lies outside the texts, its text's tokens,
/// the layers or the heads.
void check_picks(const PickList& list, const std::vector<int64_t>& text_tokens, int64_t layers,
                 int64_t heads);

}  // namespace ropescope
