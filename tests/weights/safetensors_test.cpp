#include "ropescope/weights/safetensors.h"

#include <bit>
#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/weights/safetensors_writer.h"

#include "tests/support/golden.h"
#include "tests/weights/refusal.h"
#include "tests/weights/torch_files.h"

namespace ropescope {
namespace {

using testing::file_of;
using testing::golden_path;
using testing::le;

std::string file_with(const std::string& header, const std::string& data) {
  return le(uint64_t{header.size()}) + header + data;
}

void expect_safetensors_refused(const std::string& content, const std::string& part) {
  testing::expect_refused(content, part, parse_safetensors);
}

std::string entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::string floats(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) bytes += le(std::bit_cast<uint32_t>(value));
  return bytes;
}

at::Tensor take(const std::string& content, const std::string& name, at::ScalarType dtype) {
  return make_checkpoint("safetensors", {"test.file"}, parse_safetensors(file_of(content)))
      ->take(name, dtype);
}

TEST(Safetensors, SharesTheMapWhereItCanAndCopiesUnalignedData) {
  // Headers are padded with spaces so that data begins at 8 + 64 (aligned) or 8 + 65 (not).
  std::string header = R"({"x":)" + entry("F32", "[2,2]", "[0,16]") + "}";
  const std::string data = floats({1, 2, 3, 4});
  for (const size_t length : {72U, 73U}) {
    header.resize(length, ' ');
    const FileBytes file = file_of(file_with(header, data));
    const auto checkpoint = make_checkpoint("safetensors", {file.path}, parse_safetensors(file));
    const at::Tensor x = checkpoint->take("x", at::kFloat);
    EXPECT_EQ(x.sizes(), at::IntArrayRef({2, 2}));
    EXPECT_EQ(x[1][0].item<float>(), 3);
    const auto* begin = reinterpret_cast<const std::byte*>(x.const_data_ptr());
    const bool shared = begin >= file.bytes.data() && begin < file.bytes.data() + file.bytes.size();
    EXPECT_EQ(shared, length == 72) << "header of " << length << " bytes";
  }
}

TEST(Safetensors, ATensorOutlivesItsCheckpointAndItsFile) {
  at::Tensor norm;
  at::Tensor copy;
  {
    const auto checkpoint =
        open_checkpoint(golden_path("language/llama-tiny/safetensors-fp32/model.safetensors"));
    norm = checkpoint->take("model.norm.weight", at::kFloat);
    copy = norm.clone();
  }
  EXPECT_TRUE(at::equal(norm, copy));
}

TEST(Safetensors, ReadsEveryGoldenType) {
  const auto checkpoint = open_checkpoint(golden_path("language/malformed/ok_dtypes.safetensors"));
  for (const TensorInfo& info : checkpoint->tensors()) {
    const at::Tensor values = checkpoint->take(info.name, at::kDouble).flatten();
    const std::string& dtype = info.dtype;
    if (dtype == "BOOL") {
      EXPECT_EQ(values[0].item<double>(), 1);
      EXPECT_EQ(values[1].item<double>(), 0);
    } else {
      const double expected = dtype == "U8" ? 250 : dtype[0] == 'I' ? -3 : 1.5;
      EXPECT_EQ(values[0].item<double>(), expected) << info.name;
    }
  }
}

TEST(Safetensors, ConvertsEveryStoredTypeThatLibTorchKnows) {
  struct Case {
    std::string dtype, data;
    double value;
  };
  const std::vector<Case> cases = {{"F64", le(std::bit_cast<uint64_t>(-2.0)), -2},
                                   {"F32", le(std::bit_cast<uint32_t>(-2.0F)), -2},
                                   {"F16", le(uint16_t{0xc000}), -2},
                                   {"BF16", le(uint16_t{0xc000}), -2},
                                   {"F8_E4M3", "\xc0", -2},
                                   {"F8_E5M2", "\xc0", -2},
                                   {"I64", le(int64_t{-2}), -2},
                                   {"I32", le(int32_t{-2}), -2},
                                   {"I16", le(int16_t{-2}), -2},
                                   {"I8", le(int8_t{-2}), -2},
                                   {"U64", le(uint64_t{200}), 200},
                                   {"U32", le(uint32_t{200}), 200},
                                   {"U16", le(uint16_t{200}), 200},
                                   {"U8", le(uint8_t{200}), 200},
                                   {"BOOL", le(uint8_t{1}), 1}};
  for (const Case& c : cases) {
    const std::string header =
        R"({"x":)" + entry(c.dtype, "[1]", "[0," + std::to_string(c.data.size()) + "]") + "}";
    EXPECT_EQ(take(file_with(header, c.data), "x", at::kFloat).item<float>(), c.value) << c.dtype;
  }
  const std::string complex = file_with(R"({"x":)" + entry("C64", "[1]", "[0,8]") + "}", floats({1, 2}));
  EXPECT_THROW(take(complex, "x", at::kFloat), InputError);
}

TEST(Safetensors, AMissingNameIsReportedWithTheNearestOne) {
  const auto checkpoint =
      open_checkpoint(golden_path("language/llama-tiny/safetensors-fp32/model.safetensors"));
  EXPECT_EQ(checkpoint->find("lm_head.wieght"), nullptr);
  EXPECT_THAT([&] { checkpoint->take("lm_head.wieght", at::kFloat); },
              ::testing::ThrowsMessage<InputError>(::testing::AllOf(
                  ::testing::HasSubstr("model.safetensors"), ::testing::HasSubstr("\"lm_head.weight\"?"))));
}

TEST(Safetensors, RefusesEveryTruncation) {
  const std::string header =
      R"({"a":)" + entry("F32", "[2]", "[0,8]") + R"(,"b":)" + entry("F32", "[1]", "[8,12]") + "}";
  const std::string whole = file_with(header, floats({1, 2, 3}));
  EXPECT_EQ(parse_safetensors(file_of(whole)).size(), 2U);
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(parse_safetensors(file_of(whole.substr(0, length))), InputError) << length;
  }
}

TEST(Safetensors, RefusesHeaderLengthsNear2To64) {
  for (const uint64_t length :
       {~uint64_t{0}, ~uint64_t{0} - 7, ~uint64_t{0} - 8, uint64_t{1} << 63, uint64_t{3}}) {
    expect_safetensors_refused(le(length) + "{}", "header length");
  }
}

TEST(Safetensors, RefusesWhatADamagedHeaderMaySay) {
  const std::string four(4, '\0');
  const auto one = [](const std::string& value) { return R"({"x":)" + value + "}"; };
  const auto refused = [&](const std::string& header, const std::string& part, const std::string& data) {
    expect_safetensors_refused(file_with(header, data), part);
  };
  refused(one(entry("F32", "[1]", "[0,18446744073709551615]")), "inside the 4 bytes", four);
  refused(one(entry("F32", "[1]", "[18446744073709551612,18446744073709551615]")), "inside the 4 bytes",
          four);
  refused(one(entry("F32", "[1]", "[0,18446744073709551616]")), "whole numbers", four);
  refused(one(entry("F32", "[4611686018427387904,4]", "[0,4]")), "64 bits", four);
  refused(one(entry("F32", "[9223372036854775807]", "[0,4]")), "64 bits", four);
  refused(one(entry("F32", "[9223372036854775808]", "[0,4]")), "64 bits", four);
  refused(one(entry("F32", "[0,9223372036854775807,3]", "[0,0]")), "64 bits", "");
  refused(one(entry("F32", "[NaN]", "[0,4]")), "not valid JSON", four);
  refused(one(entry("F32", "[1e0]", "[0,4]")), "whole numbers", four);
  refused(one(entry("F32", "[null]", "[0,4]")), "whole numbers", four);
  refused(one(entry("F32", "[\"1\"]", "[0,4]")), "whole numbers", four);
  refused(one(entry("F32", "1", "[0,4]")), "shape", four);
  refused(one(entry("F32", "[1]", "[0,4,4]")), "two data_offsets", four);
  refused(one(entry("F4", "[1]", "[0,1]")), "expected 1 bytes", std::string(1, '\0'));
  refused(one(R"({"dtype":5,"shape":[1],"data_offsets":[0,4]})"), "dtype", four);
  refused(one(R"({"dtype":"F32","shape":[1]})"), "\"data_offsets\" is missing", four);
  refused(one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1})"), "found \"more\"", four);
  refused(one("[]"), "JSON object", four);
  refused("[]", "starts with '{'", four);
  refused(R"({"__metadata__":{"a":1}})", "__metadata__", "");
  refused(R"({"__metadata__":[]})", "__metadata__", "");
  refused(R"({"x":)" + entry("F32", "[1]", "[0,4]") + R"(,"x":)" + entry("F32", "[1]", "[4,8]") + "}",
          "twice", four + four);
  refused(one(std::string(100'000, '[') + std::string(100'000, ']')), "nests deeper", four);
  std::string many = "[1";
  for (int i = 0; i < 64; ++i) many += ",1";
  refused(one(entry("F32", many + "]", "[0,4]")), "64 dimensions", four);
}

/// How much more than the file itself reading it takes at its peak. The test of one case runs in a process of its
/// own: a peak is never unmade.
int64_t extra_bytes(const std::string& header) {
  const FileBytes file = file_of(file_with(header, ""));
  const int64_t before = peak_memory_bytes();
  testing::refusal_of([&] { parse_safetensors(file); });
  return peak_memory_bytes() - before;
}

TEST(Safetensors, AHeaderTakesNoManyTimesItsSize) {
  constexpr size_t kBytes = 20'000'000;
  const auto repeated = [](const std::string& begin, const std::string& part, const std::string& end) {
    std::string header = begin;
    while (header.size() < kBytes) header += part;
    return header + end;
  };
  std::string tensors = "{";
  for (int i = 0; tensors.size() < kBytes; ++i) {
    tensors += fmt::format(R"({}"{:x}":{})", i > 0 ? "," : "", i, entry("F4", "[]", "[0,0]"));
  }
  const std::vector<std::string> hostile = {
      repeated(R"({"x":{"dtype":"F32","data_offsets":[0,0],"shape":[0)", ",0", "]}}"),
      repeated(R"({"x":{"dtype":[0)", ",[]", R"(],"data_offsets":[0,0],"shape":[0]}})"),
      repeated(R"({"__metadata__":{"a":"")", R"(,"":"")", "}}"), tensors + "}"};
  for (const std::string& header : hostile) {
    EXPECT_EXIT(
        {
          const int64_t extra = extra_bytes(header);
          if (extra > 8 * int64_t{kBytes}) fmt::print(stderr, "{} bytes more\n", extra);
          std::exit(extra > 8 * int64_t{kBytes} ? 1 : 0);
        },
        ::testing::ExitedWithCode(0), "")
        << header.substr(0, 60);
  }
}

TEST(Safetensors, AcceptsMetadataPaddingAndEmptyTensorsBetweenOthers) {
  const std::string header = R"({"__metadata__":{"format":"pt"},"a":)" + entry("F32", "[1]", "[0,4]") +
                             R"(,"e":)" + entry("F32", "[3,0]", "[4,4]") + R"(,"b":)" +
                             entry("F32", "[]", "[4,8]") + "}   ";
  const std::string file = file_with(header, floats({1, 2}));
  EXPECT_EQ(take(file, "e", at::kHalf).sizes(), at::IntArrayRef({3, 0}));
  EXPECT_EQ(take(file, "b", at::kHalf).item<float>(), 2);
  EXPECT_EQ(parse_safetensors(file_of(file_with("{}", ""))).size(), 0U);
}

// Names and shapes that are known only in the end.
TEST(Safetensors, AppendedTensorsAreReadBack) {
  const testing::TemporaryFolder folder;
  const at::Tensor numbers = at::arange(6, at::kDouble).div(7).view({2, 3});
  const at::Tensor counts = at::arange(3, at::kLong);
  SafetensorsAppender file(folder.path("a.safetensors"), 2);
  file.add("z", numbers);
  testing::expect_refused(read_file(folder.path("a.safetensors")), "", parse_safetensors);
  file.add("a", counts);
  file.finish();
  const auto read = open_checkpoint(folder.path("a.safetensors"));
  ASSERT_EQ(read->tensors().size(), 2u);
  EXPECT_TRUE(at::equal(read->take("z", at::kDouble), numbers));
  EXPECT_TRUE(at::equal(read->take("a", at::kLong), counts));
}

// What no reader would take is refused before there is anything to write.
TEST(Safetensors, MoreNamesThanAHeaderMayHoldAreRefusedBeforeTheFileIsMade) {
  const testing::TemporaryFolder folder;
  const std::string path = folder.path("a.safetensors");
  constexpr auto kMost = static_cast<int64_t>(kMostSafetensorsHeader) / SafetensorsAppender::kHeaderBytes;
  EXPECT_THROW(SafetensorsAppender(path, kMost), UsageError);
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace ropescope
