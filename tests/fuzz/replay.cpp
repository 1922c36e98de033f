#include "tests/fuzz/replay.h"

#include <algorithm>
#include <array>

#include <boost/random/uniform_int_distribution.hpp>

#include "ropescope/core/file.h"
#include "ropescope/core/random.h"

namespace ropescope::testing {

namespace {

using Buffer = std::vector<std::byte>;

size_t draw(Rng& rng, size_t below) {
  return boost::random::uniform_int_distribution<size_t>(0, below - 1)(rng);
}

std::vector<Buffer> read_seeds(const std::filesystem::path& corpus) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<Buffer> seeds;
  for (const auto& path : paths) {
    const std::string text = read_file(path);
    const auto bytes = std::as_bytes(std::span(text));
    seeds.emplace_back(bytes.begin(), bytes.end());
  }
  return seeds;
}

Buffer::iterator at(Buffer& buffer, size_t offset) {
  return buffer.begin() + static_cast<std::ptrdiff_t>(offset);
}

void set_number(Buffer& buffer, Rng& rng) {
  constexpr std::array<uint64_t, 10> kExtremes = {0,
                                                  1,
                                                  0x7f,
                                                  0xff,
                                                  0x7fffffff,
                                                  0xffffffff,
                                                  0x7fffffffffffffff,
                                                  0x8000000000000000,
                                                  0xffffffffffffffff,
                                                  0xfffffffffffffff0};
  constexpr std::array<size_t, 4> kWidths = {1, 2, 4, 8};
  const uint64_t value = kExtremes[draw(rng, kExtremes.size())];
  const size_t width = std::min(kWidths[draw(rng, kWidths.size())], buffer.size());
  const size_t offset = draw(rng, buffer.size() - width + 1);
  for (size_t i = 0; i < width; ++i) buffer[offset + i] = static_cast<std::byte>(value >> (8 * i));
}

void mutate_once(Buffer& buffer, const Buffer& other, Rng& rng) {
  if (buffer.empty()) return;
  const size_t offset = draw(rng, buffer.size());
  const size_t length = 1 + draw(rng, std::min<size_t>(buffer.size() - offset, 64));
  switch (draw(rng, 6)) {
    case 0:
      buffer[offset] ^= static_cast<std::byte>(1U << draw(rng, 8));
      break;
    case 1:
      set_number(buffer, rng);
      break;
    case 2:
      buffer.erase(at(buffer, offset), at(buffer, offset + length));
      break;
    case 3: {
      const Buffer piece(at(buffer, offset), at(buffer, offset + length));
      buffer.insert(at(buffer, offset), piece.begin(), piece.end());
      break;
    }
    case 4:
      buffer[offset] = static_cast<std::byte>(draw(rng, 256));
      break;
    default:
      if (!other.empty()) {
        const size_t cut = draw(rng, other.size());
        buffer.resize(offset);
        buffer.insert(buffer.end(), other.begin() + static_cast<std::ptrdiff_t>(cut), other.end());
      }
  }
}

}  // namespace

ReplaySummary replay(const FuzzTarget& target, const std::filesystem::path& corpus, int64_t mutations,
                     int64_t max_prefixes) {
  const std::vector<Buffer> seeds = read_seeds(corpus);
  ReplaySummary summary;
  summary.seeds = static_cast<int64_t>(seeds.size());
  const auto run = [&](std::span<const std::byte> bytes) {
    // A copy of its exact length on the heap: then AddressSanitizer sees a read of one byte too many.
    const Buffer copy(bytes.begin(), bytes.end());
    ++summary.runs;
    if (run_fuzz_target(target, copy)) ++summary.accepted;
  };
  for (const Buffer& seed : seeds) {
    const size_t step = std::max<size_t>(1, seed.size() / static_cast<size_t>(max_prefixes));
    for (size_t length = 0; length < seed.size(); length += step) run(std::span(seed).first(length));
    run(seed);
  }
  if (seeds.empty()) return summary;
  for (int64_t i = 0; i < mutations; ++i) {
    Rng rng = make_rng(1, {static_cast<uint64_t>(i)});
    Buffer buffer = seeds[draw(rng, seeds.size())];
    const size_t times = 1 + draw(rng, 4);
    for (size_t k = 0; k < times; ++k) mutate_once(buffer, seeds[draw(rng, seeds.size())], rng);
    run(buffer);
  }
  return summary;
}

}  // namespace ropescope::testing
