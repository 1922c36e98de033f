// Files in memory, and the sentence they are refused with.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/weights/stored_tensor.h"

#include "tests/support/refusal.h"

namespace ropescope::testing {

inline FileBytes file_of(const std::string& content, const std::string& name = "test.file") {
  // A block of exactly this length, so that AddressSanitizer sees a read beyond it.
  auto copy = std::make_shared<std::vector<std::byte>>(content.size());
  std::copy_n(std::as_bytes(std::span(content)).begin(), content.size(), copy->begin());
  return {name, *copy, copy};
}

/// Expects InputError whose sentence names the file and contains `part`.
template <typename Parse>
void expect_refused(const std::string& content, const std::string& part, const Parse& parse) {
  EXPECT_THAT(refusal_of([&] { parse(file_of(content)); }),
              ::testing::AllOf(::testing::HasSubstr("test.file"), ::testing::HasSubstr(part)));
}

}  // namespace ropescope::testing
