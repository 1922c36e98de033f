// GGUF: metadata, blocks, names and row order, damaged files.
#include "ropescope/weights/gguf.h"

#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/architectures/gguf_names.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/refusal.h"

namespace ropescope {
namespace {

using testing::golden_json;
using testing::golden_path;
using testing::golden_tensors;

const std::string kBlocks = "language/gguf-blocks/";

TEST(GgufMetadata, HasEveryValueTypeOfTheGoldenFile) {
  const std::string what = "blocks.gguf";
  const GgufMetadata metadata = read_gguf_metadata(golden_path(kBlocks + what));
  const Json layout = golden_json(kBlocks + "layout.json");
  for (const auto& [key, expected] : layout.at("metadata").items()) {
    SCOPED_TRACE(key);
    if (key == "test.empty") continue;  // looked at below: the writer may leave an empty string out
    ASSERT_EQ(metadata.count(key), 1U);
    if (expected.is_boolean()) {
      EXPECT_EQ(gguf_bool_or(metadata, key, !expected.get<bool>(), what), expected.get<bool>());
    } else if (key == "test.u64" || key == "test.i64") {
      EXPECT_EQ(std::to_string(gguf_integer(metadata, key, what)), expected.get<std::string>());
    } else if (expected.is_number_integer()) {
      EXPECT_EQ(gguf_integer(metadata, key, what), expected.get<int64_t>());
    } else if (expected.is_number_float()) {
      EXPECT_EQ(gguf_number_or(metadata, key, NAN, what), expected.get<double>());
    } else if (expected.is_string()) {
      EXPECT_EQ(gguf_string(metadata, key, what), expected.get<std::string>());
    } else if (key == "test.arr_s") {
      EXPECT_EQ(gguf_strings(metadata, key, what), expected.get<std::vector<std::string>>());
    } else if (key == "test.arr_b") {
      EXPECT_THAT(gguf_integers(metadata, key, what), ::testing::ElementsAre(1, 0, 1));
    } else if (key == "test.arr_f") {
      EXPECT_EQ(gguf_numbers(metadata, key, what), expected.get<std::vector<double>>());
    } else {
      EXPECT_EQ(gguf_integers(metadata, key, what), expected.get<std::vector<int64_t>>());
    }
  }
  EXPECT_EQ(gguf_string_or(metadata, "test.empty", "", what), "");
}

TEST(GgufMetadata, NamesTheKeyAndTheKindThatItFound) {
  const GgufMetadata metadata = read_gguf_metadata(golden_path(kBlocks + "blocks.gguf"));
  EXPECT_THAT(testing::refusal_of([&] { gguf_integer(metadata, "test.str", "blocks.gguf"); }),
              ::testing::AllOf(::testing::HasSubstr("test.str"),
                               ::testing::HasSubstr("expected an integer, found a string")));
  EXPECT_THROW(gguf_integer(metadata, "no.such", "blocks.gguf"), InputError);
  EXPECT_EQ(gguf_integer_or(metadata, "no.such", 7, "blocks.gguf"), 7);
  EXPECT_THROW(gguf_strings(metadata, "test.arr_i", "blocks.gguf"), InputError);
}

void expect_bit_equal(const at::Tensor& actual, const at::Tensor& truth) {
  ASSERT_EQ(actual.sizes(), truth.sizes());
  EXPECT_EQ(std::memcmp(actual.const_data_ptr<float>(), truth.const_data_ptr<float>(),
                        static_cast<size_t>(truth.numel()) * sizeof(float)),
            0);
}

TEST(GgufBlocks, AllThirteenTypesAreBitEqual) {
  const auto checkpoint = open_gguf_checkpoint(golden_path(kBlocks + "blocks.gguf"));
  const auto expected = golden_tensors(kBlocks + "expected.safetensors");
  for (const char* type : {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K",
                           "Q4_K", "Q5_K", "Q6_K"}) {
    SCOPED_TRACE(type);
    expect_bit_equal(checkpoint->take(std::string("t.") + type, at::kFloat), expected.at(type));
    EXPECT_EQ(checkpoint->find(std::string("t.") + type)->dtype, type);
  }
}

TEST(GgufBlocks, FourBitFloatsAreBitEqualUnderEveryScale) {
  // Random numbers under all 256 values of a scale's byte, widened by the gguf package 0.19.
  const auto checkpoint = open_gguf_checkpoint(golden_path(kBlocks + "fp4.gguf"));
  const auto expected = golden_tensors(kBlocks + "fp4-expected.safetensors");
  for (const char* type : {"MXFP4", "NVFP4"}) {
    SCOPED_TRACE(type);
    expect_bit_equal(checkpoint->take(std::string("t.") + type, at::kFloat), expected.at(type));
    EXPECT_EQ(checkpoint->find(std::string("t.") + type)->dtype, type);
  }
  EXPECT_EQ(checkpoint->find("t.Q1_0")->dtype, "Q1_0");
  EXPECT_THAT(testing::refusal_of([&] { checkpoint->take("t.Q1_0", at::kFloat); }),
              ::testing::HasSubstr("Q1_0 cannot be read"));
}

TEST(GgufBlocks, NarrowTypesAreRoundedOnce) {
  const auto checkpoint = open_gguf_checkpoint(golden_path(kBlocks + "blocks.gguf"));
  for (const char* name : {"t.F32", "t.F16", "t.BF16", "t.Q4_1", "t.Q6_K"}) {
    SCOPED_TRACE(name);
    const at::Tensor wide = checkpoint->take(name, at::kFloat);
    for (const at::ScalarType type : {at::kHalf, at::kBFloat16, at::kDouble}) {
      EXPECT_TRUE(at::equal(checkpoint->take(name, type), wide.to(type)));
    }
  }
}

TEST(GgufBlocks, ShapesAndPlacesAreThoseOfTheLayout) {
  const MappedFile file(golden_path(kBlocks + "blocks.gguf"));
  const GgufContents contents = parse_gguf(file.bytes(), "blocks.gguf");
  const Json tensors = golden_json(kBlocks + "layout.json").at("tensors");
  ASSERT_EQ(contents.tensors.size(), tensors.size());
  for (const auto& [name, expected] : tensors.items()) {
    SCOPED_TRACE(name);
    const GgufTensor* tensor = contents.find(name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->offset, expected.at("offset_in_file").get<uint64_t>());
    EXPECT_EQ(tensor->bytes, expected.at("bytes").get<uint64_t>());
    const auto fastest_first = expected.at("ne").get<std::vector<int64_t>>();
    EXPECT_EQ(tensor->shape, std::vector<int64_t>(fastest_first.rbegin(), fastest_first.rend()));
  }
}

/// model, GGUF type, and whether the values are those of the safetensors form exactly.
class GgufForms : public ::testing::TestWithParam<std::tuple<const char*, const char*, bool>> {};

TEST_P(GgufForms, HaveTheNamesRowOrderAndValuesOfTheReference) {
  const auto& [model, type, exact] = GetParam();
  const std::string folder = std::string("language/") + model;
  const auto checkpoint = open_gguf_checkpoint(golden_path(folder + "/gguf/" + model + "-" + type + ".gguf"));
  const Json expected = golden_json(folder + "/gguf/expected_tensors.json").at(type).at("tensors");
  ASSERT_EQ(checkpoint->tensors().size(), expected.size());
  for (const auto& [name, numbers] : expected.items()) {
    SCOPED_TRACE(name);
    const at::Tensor tensor = checkpoint->take(name, at::kFloat);
    const float* data = tensor.const_data_ptr<float>();
    double sum = 0;
    double absolute = 0;
    for (int64_t i = 0; i < tensor.numel(); ++i) {
      sum += data[i];
      absolute += std::abs(static_cast<double>(data[i]));
    }
    EXPECT_NEAR(sum, numbers[0].get<double>(), 1e-9 * absolute);  // the order of a double sum
    EXPECT_NEAR(absolute, numbers[1].get<double>(), 1e-9 * absolute);
    EXPECT_EQ(data[0], numbers[2].get<float>());
    EXPECT_EQ(data[tensor.numel() - 1], numbers[3].get<float>());
  }
  if (!exact) return;
  const bool llama = std::string(model) == "llama-tiny";
  const auto truth = golden_tensors(folder + (llama ? "/safetensors-fp32" : "/safetensors-bf16-tied") +
                                    "/model.safetensors");
  ASSERT_EQ(truth.size(), checkpoint->tensors().size());
  for (const auto& [name, tensor] : truth) {
    EXPECT_TRUE(at::equal(checkpoint->take(name, at::kFloat), tensor)) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Golden, GgufForms,
    ::testing::Values(std::tuple("llama-tiny", "F32", true), std::tuple("llama-tiny", "F16", true),
                      std::tuple("llama-tiny", "Q8_0", false), std::tuple("llama-tiny", "Q4_0", false),
                      std::tuple("llama-tiny", "Q4_1", false), std::tuple("llama-tiny", "Q5_0", false),
                      std::tuple("llama-tiny", "Q5_1", false), std::tuple("qwen2-tiny", "F16", true),
                      std::tuple("qwen2-tiny", "Q8_0", false)),
    [](const auto& test) {
      std::string name = std::string(std::get<0>(test.param)) + "_" + std::get<1>(test.param);
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST(GgufNames, RowsOfAHeadGoBackToHalfSplit) {
  // Two heads of 6 rows; the file has pairs (0,3), (1,4), (2,5) of each head side by side.
  const std::vector<int64_t> file_rows = {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11};
  for (int64_t row = 0; row < 12; ++row) EXPECT_EQ(file_rows[permuted_row(row, 6)], row);
}

TEST(GgufNames, AFileOfItsOwnKeepsItsNames) {
  const std::string path = golden_path("language/llama-tiny/gguf/llama-tiny-F32.gguf");
  const auto own = open_gguf_file(path);
  const auto hugging_face = open_gguf_checkpoint(path);
  ASSERT_NE(own->find("blk.0.attn_q.weight"), nullptr);
  ASSERT_NE(hugging_face->find("model.layers.0.self_attn.q_proj.weight"), nullptr);
  const at::Tensor stored = own->take("blk.0.attn_q.weight", at::kFloat);
  const at::Tensor half_split = hugging_face->take("model.layers.0.self_attn.q_proj.weight", at::kFloat);
  EXPECT_TRUE(at::equal(half_split[8], stored[1]));  // head size 16: channel 8 is the partner of channel 0
  EXPECT_THROW(hugging_face->take("blk.0.attn_q.weight", at::kFloat), InputError);
}

TEST(GgufMalformed, DamagedFilesAreRefusedInWords) {
  const Json manifest = golden_json("language/malformed/manifest.json");
  int refused = 0;
  for (const auto& [name, fault] : manifest.items()) {
    if (name.rfind("gguf_", 0) != 0) continue;
    SCOPED_TRACE(name + ": " + fault.get<std::string>());
    EXPECT_THAT(testing::refusal_of([&] { open_gguf_checkpoint(golden_path("language/malformed/" + name)); }),
                ::testing::HasSubstr(name));
    ++refused;
  }
  EXPECT_EQ(refused, 9);
  const auto ok = open_gguf_checkpoint(golden_path("language/malformed/ok.gguf"));
  const at::Tensor x = ok->take("x", at::kFloat);
  EXPECT_EQ(std::vector<float>(x.const_data_ptr<float>(), x.const_data_ptr<float>() + 4),
            (std::vector<float>{1, 2, 3, 4}));
}

/// Builds GGUF images field by field, to damage one field at a time.
class Image {
 public:
  template <typename T>
  Image& put(T value) {
    const char* bytes = reinterpret_cast<const char*>(&value);
    data_.append(bytes, sizeof(T));
    return *this;
  }
  Image& text(const std::string& text) {
    put<uint64_t>(text.size());
    data_ += text;
    return *this;
  }
  Image& header(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
    data_ += "GGUF";
    return put(version).put(tensors).put(pairs);
  }
  /// One float tensor a dimension list.
  Image& tensor(const std::string& name, const std::vector<uint64_t>& ne, uint32_t type, uint64_t offset) {
    text(name).put(static_cast<uint32_t>(ne.size()));
    for (const uint64_t extent : ne) put(extent);
    return put(type).put(offset);
  }
  Image& pad(size_t alignment) {
    data_.resize((data_.size() + alignment - 1) / alignment * alignment);
    return *this;
  }
  Image& zeros(size_t count) {
    data_.append(count, '\0');
    return *this;
  }
  std::string error() const {
    return testing::refusal_of([&] {
      const auto checkpoint = open_gguf_checkpoint(std::as_bytes(std::span(data_)), "image");
      for (const TensorInfo& info : checkpoint->tensors()) checkpoint->take(info.name, at::kFloat);
    });
  }

 private:
  std::string data_;
};

constexpr uint32_t kU8 = 0, kU32 = 4, kString = 8, kArray = 9;
constexpr uint32_t kF32 = 0, kQ4_0 = 2;
constexpr uint64_t kHuge = ~uint64_t{0} - 3;

TEST(GgufMalformed, EveryCountIsComparedWithTheFile) {
  using ::testing::HasSubstr;
  EXPECT_EQ(Image().header(0, 0, 2).error(), "");
  EXPECT_EQ(Image().header(1, 0).tensor("x", {8}, kF32, 0).pad(32).zeros(32).error(), "");
  EXPECT_THAT(Image().header(0, 0, 1).error(), HasSubstr("version"));
  EXPECT_THAT(Image().header(0, 0, 0x03000000).error(), HasSubstr("big-endian"));
  EXPECT_THAT(Image().header(kHuge, 0).error(), HasSubstr("tensors do not fit"));
  EXPECT_THAT(Image().header(0, kHuge).error(), HasSubstr("pairs do not fit"));
  EXPECT_THAT(Image().header(0, 1).text("k").put(kArray).put(kU8).put(kHuge).error(), HasSubstr("array"));
  EXPECT_THAT(Image().header(0, 1).text("k").put(kArray).put(kString).put(uint64_t{3}).text("a").error(),
              HasSubstr("does not fit"));
  EXPECT_THAT(Image().header(0, 1).text("k").put(uint32_t{99}).put(uint64_t{0}).error(),
              HasSubstr("unknown metadata type 99"));
  EXPECT_THAT(Image().header(0, 2).text("k").put(kU32).put(1).text("k").put(kU32).put(1).error(),
              HasSubstr("occurs twice"));
  Image nested;
  nested.header(0, 1).text("k").put(kArray);
  for (int depth = 0; depth < 100; ++depth) nested.put(kArray).put(uint64_t{1});
  nested.put(kU8).put(uint64_t{0});
  EXPECT_THAT(nested.error(), HasSubstr("nest deeper"));
}

TEST(GgufMalformed, TensorsLieInsideTheFileAndApart) {
  using ::testing::HasSubstr;
  const auto one = [](const std::vector<uint64_t>& ne, uint32_t type, uint64_t offset) {
    return Image().header(1, 0).tensor("x", ne, type, offset).pad(32).zeros(256).error();
  };
  EXPECT_EQ(one({}, kF32, 0), "");
  EXPECT_EQ(one({0, 5}, kF32, 0), "");
  EXPECT_EQ(one({32, 2}, kQ4_0, 32), "");
  EXPECT_THAT(one({kHuge}, kF32, 0), HasSubstr("overflow"));
  EXPECT_THAT(one({uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0), HasSubstr("overflow"));
  EXPECT_THAT(one({uint64_t{1} << 62}, kF32, 0), HasSubstr("overflow"));
  EXPECT_THAT(one({0, uint64_t{1} << 62, uint64_t{1} << 62}, kF32, 0), HasSubstr("overflow"));
  EXPECT_THAT(one({65}, kF32, 0), HasSubstr("beyond"));
  EXPECT_THAT(one({4}, kF32, kHuge & ~uint64_t{31}), HasSubstr("beyond"));
  EXPECT_THAT(one({4}, kF32, 8), HasSubstr("multiple of 32"));
  EXPECT_THAT(one({16}, kQ4_0, 0), HasSubstr("multiple of 32 numbers"));
  EXPECT_THAT(one({4}, 4, 0), HasSubstr("unknown type 4"));
  EXPECT_THAT(one({1, 1, 1, 1, 1}, kF32, 0), HasSubstr("dimensions"));
  EXPECT_THAT(one({256}, 23, 0), HasSubstr("IQ4_XS cannot be read"));
  EXPECT_THAT(Image().header(2, 0).tensor("x", {9}, 0, 0).tensor("y", {4}, 0, 32).pad(32).zeros(64).error(),
              HasSubstr("overlap"));
  EXPECT_THAT(Image().header(2, 0).tensor("x", {4}, 0, 0).tensor("x", {4}, 0, 32).pad(32).zeros(64).error(),
              HasSubstr("occurs twice"));
}

TEST(GgufMalformed, AlignmentIsAPowerOfTwo) {
  using ::testing::HasSubstr;
  const auto aligned = [](uint32_t alignment) {
    return Image()
        .header(1, 1)
        .text("general.alignment")
        .put(kU32)
        .put(alignment)
        .tensor("x", {4}, kF32, 0)
        .pad(64)
        .zeros(64)
        .error();
  };
  EXPECT_EQ(aligned(64), "");
  for (const uint32_t alignment : {0U, 3U, 48U, 0xFFFFFFFFU}) {
    EXPECT_THAT(aligned(alignment), HasSubstr("power of two")) << alignment;
  }
  EXPECT_THAT(aligned(1U << 31), HasSubstr("beyond"));
}

TEST(GgufMalformed, RowOrderNeedsTheHeadCount) {
  using ::testing::HasSubstr;
  const auto llama = [](uint32_t heads) {
    return Image()
        .header(1, 2)
        .text("general.architecture")
        .put(kString)
        .text("llama")
        .text("llama.attention.head_count")
        .put(kU32)
        .put(heads)
        .tensor("blk.0.attn_q.weight", {4, 8}, kF32, 0)
        .pad(32)
        .zeros(128)
        .error();
  };
  EXPECT_EQ(llama(2), "");
  EXPECT_THAT(llama(0), HasSubstr("expected rows for 0 heads"));
  EXPECT_THAT(llama(3), HasSubstr("found 8 rows"));
  EXPECT_THAT(llama(8), HasSubstr("even size"));
  EXPECT_THAT(Image()
                  .header(1, 1)
                  .text("general.architecture")
                  .put(kString)
                  .text("llama")
                  .tensor("blk.0.attn_q.weight", {4, 8}, kF32, 0)
                  .pad(32)
                  .zeros(128)
                  .error(),
              HasSubstr("llama.attention.head_count"));
}

}  // namespace
}  // namespace ropescope
