#include "compression.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <numeric>

#include <boost/random/uniform_int_distribution.hpp>
#include <fmt/format.h>

#include "ropescope/core/errors.h"

#include "small_products.h"
#include "world.h"

namespace ropescope::miniature {

namespace {

constexpr std::array<const char*, 6> kCompressionNames = {"none", "pool", "drop", "tome", "prune", "tofu"};
constexpr std::array<const char*, 4> kMergedIdNames = {"cell", "mean", "ppe", "after"};

[[noreturn]] void refuse_compression(const std::string& text) {
  throw UsageError(
      "--compress: expected none, pool-2 to pool-8, or drop-P, prune-P, tome-P or tofu-P with 1 to 99 percent of the "
      "high-resolution tokens that go, found \"{}\"",
      text);
}

/// One round of the matching: who of `a` joins whom of `b`, the likest `count` of them.
struct Join {
  float cosine;
  size_t from, to;
};

/// `directions` [tokens, width], of length 1.
std::vector<Join> likest(const std::vector<float>& directions, int64_t tokens, int64_t width, size_t count) {
  const int64_t second = tokens / 2, first = tokens - second, padded = (second + 15) / 16 * 16;
  std::vector<float> across(static_cast<size_t>(width * padded), 0.0F),
      cosines(static_cast<size_t>(first * padded));
  transpose(directions.data() + width, 2 * width, second, width, across.data(), padded);
  multiply({directions.data(), 2 * width, 1}, across.data(), padded, cosines.data(), padded, first, padded,
           width, false);
  std::vector<Join> joins;
  for (int64_t a = 0; a < first; ++a) {
    const float* const row = cosines.data() + a * padded;
    const float* const best = std::max_element(row, row + second);
    joins.push_back({*best, static_cast<size_t>(2 * a), static_cast<size_t>(2 * (best - row) + 1)});
  }
  std::stable_sort(joins.begin(), joins.end(),
                   [](const Join& x, const Join& y) { return x.cosine > y.cosine; });
  joins.resize(std::min(count, joins.size()));
  return joins;
}

/// Writes the mean of some rows, made of length 1.
void write_direction(const std::vector<float>& features, int64_t width, const std::vector<int64_t>& rows,
                     float* to) {
  std::fill_n(to, width, 0.0F);
  for (const int64_t row : rows) {
    for (int64_t i = 0; i < width; ++i) to[i] += features[static_cast<size_t>(row * width + i)];
  }
  const float length = std::sqrt(std::inner_product(to, to + width, to, 0.0F));
  for (int64_t i = 0; i < width; ++i) to[i] /= std::max(length, 1e-20F);
}

}  // namespace

int64_t Compression::layers_before() const {
  if (kind == CompressionKind::kTofu) return 2;
  return kind == CompressionKind::kPrune ? 1 : 0;
}

int64_t Compression::left(int64_t high, int64_t layer) const {
  if (none() || (layer == 0 && layers_before() > 0)) return high;
  const int64_t in_the_end = std::max<int64_t>(1, high - (high * amount + 50) / 100);
  if (layer >= layers_before()) return in_the_end;
  const double between = std::sqrt(static_cast<double>(high) * static_cast<double>(in_the_end));
  return std::clamp<int64_t>(std::lround(between), in_the_end, high);
}

Compression parse_compression(const std::string& text, const std::string& merged_id) {
  Compression compression;
  if (!merged_id.empty()) {
    compression.ids = parse_name<MergedId>(kMergedIdNames, merged_id, "--merged-id");
  }
  if (text.empty() || text == "none") {
    if (!merged_id.empty()) throw UsageError("--merged-id {}: expected --compress beside it", merged_id);
    return compression;
  }
  const size_t dash = text.find('-');
  const auto found = std::find(kCompressionNames.begin() + 1, kCompressionNames.end(), text.substr(0, dash));
  if (found == kCompressionNames.end() || dash == std::string::npos) refuse_compression(text);
  compression.kind = static_cast<CompressionKind>(found - kCompressionNames.begin());
  const char* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data() + dash + 1, end, compression.amount);
  const bool pools = compression.kind == CompressionKind::kPool;
  if (read.ec != std::errc() || read.ptr != end || compression.amount < (pools ? 2 : 1) ||
      compression.amount > (pools ? 8 : 99)) {
    refuse_compression(text);
  }
  const bool alone =
      compression.kind == CompressionKind::kDrop || compression.kind == CompressionKind::kPrune;
  if (alone && (compression.ids == MergedId::kMean || compression.ids == MergedId::kPpe)) {
    throw UsageError("--merged-id {}: expected cell or after for {}, which merges nothing", merged_id, text);
  }
  return compression;
}

std::string compression_text(const Compression& compression) {
  if (compression.none()) return "";
  std::string text =
      fmt::format("{}-{}", kCompressionNames.at(static_cast<size_t>(compression.kind)), compression.amount);
  if (compression.ids != MergedId::kCell) {
    text += fmt::format(", {}", kMergedIdNames.at(static_cast<size_t>(compression.ids)));
  }
  return text;
}

PictureSequence picture_sequence(const Shape& shape, const View& view, const Layout& layout) {
  PictureSequence sequence;
  sequence.layout = layout;
  sequence.tokens = layout.tokens();
  sequence.rows = shape.rows;
  sequence.columns = shape.columns;
  sequence.cells = cells_of_tokens(shape);
  sequence.image_tokens = static_cast<int64_t>(view.sources.size());
  sequence.thumbnail_cells = shape.cells();
  sequence.place_of.assign(static_cast<size_t>(sequence.tokens), -1);
  for (size_t i = 0; i < view.high.size(); ++i) {
    sequence.high.push_back(1 + view.high[i]);
    sequence.place_of[static_cast<size_t>(1 + view.high[i])] = static_cast<int64_t>(i);
  }
  for (int64_t token = 0; token < sequence.image_tokens; ++token) {
    if (view.sources[static_cast<size_t>(token)] < 0) sequence.newlines.push_back(1 + token);
  }
  for (int64_t token = 1 + sequence.image_tokens; token < sequence.tokens; token += 2) {
    sequence.asked.push_back(token);
  }
  return sequence;
}

Members each_alone(int64_t tokens) {
  Members members;
  for (int64_t token = 0; token < tokens; ++token) members.push_back({token});
  return members;
}

Members composed(const Members& members, const Members& groups) {
  Members result;
  for (const std::vector<int64_t>& group : groups) {
    std::vector<int64_t> all;
    for (const int64_t token : group) {
      const std::vector<int64_t>& some = members[static_cast<size_t>(token)];
      all.insert(all.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    result.push_back(std::move(all));
  }
  return result;
}

int64_t cell_of_members(const PictureSequence& sequence, const std::vector<int64_t>& members) {
  int64_t cell = -1;
  for (const int64_t token : members) {
    const int64_t place = sequence.place_of[static_cast<size_t>(token)];
    const int64_t own = place < 0 ? -1 : sequence.cells[static_cast<size_t>(place)];
    if (own < 0 || (cell >= 0 && own != cell)) return -1;
    cell = own;
  }
  return cell;
}

Members pooled(const PictureSequence& sequence, int64_t side) {
  Members result;
  const int64_t after = sequence.high.empty() ? sequence.tokens : sequence.high.front();
  for (int64_t token = 0; token < after; ++token) result.push_back({token});
  for (int64_t top = 0; top < sequence.rows; top += side) {
    const int64_t bottom = std::min(top + side, sequence.rows);
    for (int64_t first = 0; first < sequence.columns; first += side) {
      std::vector<int64_t> square;
      for (int64_t row = top; row < bottom; ++row) {
        for (int64_t column = first; column < std::min(first + side, sequence.columns); ++column) {
          square.push_back(sequence.high[static_cast<size_t>(row * sequence.columns + column)]);
        }
      }
      result.push_back(std::move(square));
    }
    if (!sequence.newlines.empty()) {
      result.emplace_back(sequence.newlines.begin() + top, sequence.newlines.begin() + bottom);
    }
  }
  for (int64_t token = 1 + sequence.image_tokens; token < sequence.tokens; ++token) result.push_back({token});
  return result;
}

std::vector<int64_t> chosen_by_chance(int64_t count, int64_t left, Rng& rng) {
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), int64_t{0});
  for (int64_t i = 0; i < left; ++i) {
    const int64_t other = boost::random::uniform_int_distribution<int64_t>(i, count - 1)(rng);
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(other)]);
  }
  order.resize(static_cast<size_t>(left));
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<int64_t> largest(const std::vector<float>& scores, int64_t left) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(left));
  std::sort(order.begin(), order.end());
  return order;
}

Members alike(const std::vector<float>& features, int64_t count, int64_t width, int64_t left, bool merge) {
  Members groups = each_alone(count);
  while (static_cast<int64_t>(groups.size()) > left) {
    const auto tokens = static_cast<int64_t>(groups.size());
    std::vector<float> directions(static_cast<size_t>(tokens * width));
    for (int64_t i = 0; i < tokens; ++i) {
      write_direction(features, width, groups[static_cast<size_t>(i)], directions.data() + i * width);
    }
    const size_t most = std::min(groups.size() - static_cast<size_t>(left), groups.size() / 2);
    for (const Join& join : likest(directions, tokens, width, most)) {
      std::vector<int64_t>&from = groups[join.from], &to = groups[join.to];
      if (merge) to.insert(to.end(), from.begin(), from.end());
      from.clear();
    }
    groups.erase(
        std::remove_if(groups.begin(), groups.end(), [](const auto& group) { return group.empty(); }),
        groups.end());
    for (std::vector<int64_t>& group : groups) std::sort(group.begin(), group.end());
    std::sort(groups.begin(), groups.end());
  }
  return groups;
}

Members in_sequence(int64_t tokens, const std::vector<int64_t>& some, const Members& groups) {
  std::vector<std::vector<int64_t>> at(static_cast<size_t>(tokens));
  for (int64_t token = 0; token < tokens; ++token) at[static_cast<size_t>(token)] = {token};
  for (const int64_t token : some) at[static_cast<size_t>(token)].clear();
  for (const std::vector<int64_t>& group : groups) {
    std::vector<int64_t>& first = at[static_cast<size_t>(some[static_cast<size_t>(group.front())])];
    for (const int64_t i : group) first.push_back(some[static_cast<size_t>(i)]);
  }
  Members result;
  for (std::vector<int64_t>& group : at) {
    if (!group.empty()) result.push_back(std::move(group));
  }
  return result;
}

}  // namespace ropescope::miniature
