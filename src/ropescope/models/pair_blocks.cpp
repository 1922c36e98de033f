#include "ropescope/models/pair_blocks.h"

#include <algorithm>

#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/models/kernels/flash_block.h"

namespace ropescope {

namespace {

// Below this many tokens a run shares its tile with its neighbours. A biased rectangle computes twice what it
// needs, which for a tile of 256 costs what fused causal kernels lose on the diagonal; smaller tiles merge
// rows more often.
constexpr int64_t kTileTokens = 256;

// Consecutive runs of the major modality: gathered tokens [first, last) of it, and those of the minor one
// between them.
struct Tile {
  int64_t major_first, major_last, minor_first, minor_last;
};

std::vector<Tile> make_tiles(const std::vector<uint8_t>& visual, uint8_t major, int64_t past) {
  const auto keys = static_cast<int64_t>(visual.size());
  int64_t major_seen = std::count(visual.begin(), visual.begin() + past, major);
  int64_t minor_seen = past - major_seen;
  std::vector<Tile> tiles;
  // The past holds keys only, so its runs need no telling apart.
  if (major_seen > 0) tiles.push_back({0, major_seen, minor_seen, minor_seen});
  const size_t tiles_of_past = tiles.size();
  for (int64_t token = past; token < keys;) {
    int64_t end = token + 1;
    while (end < keys && visual[end] == visual[token]) ++end;
    const int64_t length = end - token;
    if (visual[token] != major) {
      minor_seen += length;
    } else {
      const bool shares = tiles.size() > tiles_of_past &&
                          major_seen + length - tiles.back().major_first <= kTileTokens &&
                          minor_seen - tiles.back().minor_first <= kTileTokens;
      if (!shares) tiles.push_back({major_seen, major_seen, minor_seen, minor_seen});
      major_seen += length;
      tiles.back().major_last = major_seen;
      tiles.back().minor_last = minor_seen;
    }
    token = end;
  }
  return tiles;
}

// 0 where key token <= query token.
at::Tensor staircase(const std::vector<int64_t>& query_tokens, Span queries,
                     const std::vector<int64_t>& key_tokens, Span keys, const at::TensorOptions& options) {
  const auto tokens = [](const std::vector<int64_t>& all, Span span) {
    return at::tensor(at::IntArrayRef(all).slice(span.first, span.length), at::kLong);
  };
  const at::Tensor hidden =
      tokens(key_tokens, keys).unsqueeze(0).gt(tokens(query_tokens, queries).unsqueeze(1));
  const at::ScalarType dtype = c10::typeMetaToScalarType(options.dtype());
  return at::zeros({queries.length, keys.length}, at::kDouble)
      .masked_fill_(hidden, kernels::hidden_score(dtype))
      .to(options);
}

}  // namespace

PairBlocks::PairBlocks(const std::vector<uint8_t>& visual, int64_t queries,
                       const at::TensorOptions& options) {
  const auto keys = static_cast<int64_t>(visual.size());
  const int64_t past = keys - queries;
  std::array<std::vector<int64_t>, 2> key_tokens;  // by modality: which token a gathered key is
  for (int64_t token = 0; token < keys; ++token) {
    const size_t modality = visual[token] != 0;
    GatheredTokens& gathered = tokens[modality];
    const auto append = [](std::vector<Span>& runs, int64_t at) {
      if (!runs.empty() && runs.back().first + runs.back().length == at) {
        ++runs.back().length;
      } else {
        runs.push_back({at, 1});
      }
    };
    append(gathered.key_runs, token);
    key_tokens[modality].push_back(token);
    ++gathered.keys;
    if (token < past) continue;
    append(gathered.query_runs, token - past);
    ++gathered.queries;
  }
  const auto before = [&](size_t modality) { return tokens[modality].keys - tokens[modality].queries; };

  for (size_t modality : {0, 1}) {
    const int64_t new_tokens = tokens[modality].queries, old = before(modality);
    if (new_tokens == 0) continue;
    blocks.push_back({modality, modality, {0, new_tokens}, {old, new_tokens}, /*is_causal=*/true, {}});
    if (old > 0) blocks.push_back({modality, modality, {0, new_tokens}, {0, old}, false, {}});
  }
  const size_t major = tokens[1].keys >= tokens[0].keys, minor = 1 - major;
  // Spans of gathered keys; those of the past are no queries.
  const auto add = [&](size_t query_modality, Span rows, size_t key_modality, Span columns, bool biased) {
    const int64_t old = before(query_modality), cut = std::clamp<int64_t>(old - rows.first, 0, rows.length);
    rows = {rows.first + cut, rows.length - cut};
    if (rows.length == 0 || columns.length == 0) return;
    at::Tensor bias;
    if (biased)
      bias = staircase(key_tokens[query_modality], rows, key_tokens[key_modality], columns, options);
    blocks.push_back(
        {query_modality, key_modality, {rows.first - old, rows.length}, columns, /*is_causal=*/false, bias});
  };
  for (const Tile& tile : make_tiles(visual, static_cast<uint8_t>(major), past)) {
    const Span run = {tile.major_first, tile.major_last - tile.major_first};
    const Span between = {tile.minor_first, tile.minor_last - tile.minor_first};
    add(minor, {tile.minor_last, tokens[minor].keys - tile.minor_last}, major, run, false);
    add(major, run, minor, {0, tile.minor_first}, false);
    add(minor, between, major, run, true);
    add(major, run, minor, between, true);
  }
}

}  // namespace ropescope
