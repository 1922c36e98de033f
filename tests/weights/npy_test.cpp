#include "ropescope/weights/npy.h"

#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/tensor.h>

#include "ropescope/core/errors.h"

#include "tests/support/npy_file.h"

namespace ropescope {
namespace {

using ::testing::HasSubstr;
using testing::npy_bytes;

NpyArray read(const std::string& bytes) {
  return parse_npy({"ids.npy", std::as_bytes(std::span(bytes.data(), bytes.size())), nullptr});
}

std::string npy_refusal(const std::string& bytes) {
  try {
    read(bytes);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

template <typename T>
std::string numbers(std::initializer_list<T> values) {
  std::string bytes;
  for (const T value : values) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes.append(raw, sizeof(T));
  }
  return bytes;
}

TEST(Npy, NumbersOfEveryType) {
  const at::Tensor wanted = at::tensor(std::vector<int64_t>{0, 1, 5}, at::kLong);
  EXPECT_TRUE(at::equal(read(npy_bytes("<i8", "(3,)", numbers<int64_t>({0, 1, 5}))).values, wanted));
  EXPECT_TRUE(at::equal(read(npy_bytes("<i4", "(3,)", numbers<int32_t>({0, 1, 5}))).values, wanted));
  EXPECT_TRUE(at::equal(read(npy_bytes("<u2", "(3,)", numbers<uint16_t>({0, 1, 5}))).values, wanted));
  EXPECT_TRUE(at::equal(read(npy_bytes("|i1", "(3,)", numbers<int8_t>({0, 1, 5}))).values, wanted));
  const at::Tensor halves = at::tensor(std::vector<double>{0.5, -2}, at::kDouble);
  EXPECT_TRUE(at::equal(read(npy_bytes("<f4", "(2,)", numbers<float>({0.5F, -2}))).values, halves));
  EXPECT_TRUE(at::equal(read(npy_bytes("<f8", "(2,)", numbers<double>({0.5, -2}))).values, halves));
  EXPECT_EQ(read(npy_bytes("<i8", "()", numbers<int64_t>({7}))).values.dim(), 0);
}

TEST(Npy, FortranOrderIsTurned) {
  const at::Tensor values =
      read(npy_bytes("<i4", "(2, 3)", numbers<int32_t>({0, 3, 1, 4, 2, 5}), true)).values;
  EXPECT_TRUE(at::equal(values, at::arange(6, at::kLong).view({2, 3})));
  EXPECT_TRUE(values.is_contiguous());
}

TEST(Npy, EveryPrefixIsRefused) {
  const std::string whole = npy_bytes("<i8", "(3,)", numbers<int64_t>({0, 1, 5}));
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_NE(npy_refusal(whole.substr(0, length)), "") << length;
  }
  EXPECT_THAT(npy_refusal(whole + "x"), HasSubstr("expected the 25 bytes of data to hold shape [3] of <i8"));
}

TEST(Npy, SaysWhatItDoesNotRead) {
  EXPECT_THAT(npy_refusal(npy_bytes("|O", "(1,)", "\x80\x04K\x01.")), HasSubstr("found Python objects"));
  EXPECT_THAT(npy_refusal(npy_bytes(">i8", "(1,)", std::string(8, '\0'))), HasSubstr("big-endian"));
  EXPECT_THAT(npy_refusal(npy_bytes("<c8", "(1,)", std::string(8, '\0'))), HasSubstr("another type"));
  EXPECT_THAT(npy_refusal(npy_bytes("<i8", "(1152921504606846976, 16)", std::string(8, '\0'))),
              HasSubstr("which takes another number"));
  EXPECT_THAT(npy_refusal(npy_bytes("<i8", "(0, 3)", "")), HasSubstr("found none"));
  EXPECT_THAT(npy_refusal(npy_bytes("<i8", "(-1,)", std::string(8, '\0'))), HasSubstr("whole numbers"));
  EXPECT_THAT(npy_refusal(npy_bytes("<u8", "(1,)", std::string(8, '\xff'))), HasSubstr("below 2^63"));
  std::string version = npy_bytes("<i8", "(1,)", std::string(8, '\0'));
  version[6] = 9;
  EXPECT_THAT(npy_refusal(version), HasSubstr("version 1.0, 2.0 or 3.0"));
  std::string record = npy_bytes("<i8", "(1,)", std::string(8, '\0'));
  record.replace(record.find("'<i8'"), 5, "[1,2]");
  EXPECT_THAT(npy_refusal(record), HasSubstr("record type"));
}

}  // namespace
}  // namespace ropescope
