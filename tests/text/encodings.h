// What the tests of tokenizers share.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/text/tokenizer.h"
#include "ropescope/weights/gguf.h"

#include "tests/support/refusal.h"

namespace ropescope::testing {

using Ids = std::vector<int64_t>;

/// Without start and end tokens; special tokens in the text are read as such (kPlain) or as any other text.
constexpr EncodeOptions kPlain{false, false};
constexpr EncodeOptions kSpecialsAsText{false, true};

/// A list among the metadata of a GGUF file.
template <typename T>
GgufValue array_of(std::vector<T> values) {
  return std::make_shared<const GgufArray>(GgufArray{std::move(values)});
}

/// Expects InputError from `make(damaged source)` whose sentence names `file` and contains `part`.
template <typename Source, typename Damage, typename Make>
void expect_damage_refused(Source source, const Damage& damage, const Make& make, const std::string& file,
                           const std::string& part) {
  damage(source);
  EXPECT_THAT(refusal_of([&] { make(source); }),
              ::testing::AllOf(::testing::HasSubstr(file), ::testing::HasSubstr(part)));
}

}  // namespace ropescope::testing
