// Forms that files hold experts in: golden data of tests/golden/architectures/formats, shapes that do not fit, and parts of
// tensors.
#include "ropescope/models/blocks/expert_store.h"

#include <map>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/tensor_operators.h"
#include "ropescope/models/blocks/expert_formats.h"
#include "ropescope/weights/gguf.h"
#include "ropescope/weights/renamed_checkpoint.h"
#include "ropescope/weights/safetensors_writer.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::AllOf;
using ::testing::HasSubstr;

::testing::AssertionResult same_bits(const at::Tensor& actual, const at::Tensor& expected,
                                     at::ScalarType dtype) {
  const auto bits = [&](const at::Tensor& x) { return x.to(dtype).contiguous().view(at::kByte); };
  if (actual.scalar_type() != dtype) return ::testing::AssertionFailure() << "another type";
  if (at::equal(bits(actual), bits(expected))) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << "numbers differ: " << all_close(actual, expected, 0).message();
}

const std::string kExpertPrefix = "model.layers.0.mlp.experts";
const std::string kFormats = "architectures/formats/";

TEST(ExpertFormats, Mxfp4AsTransformersWidensIt) {
  const std::shared_ptr<const Checkpoint> file = open_checkpoint(golden_path(kFormats + "mxfp4.safetensors"));
  const auto expected = golden_tensors(kFormats + "expected.safetensors");
  const ExpertShape shape{.count = 2, .chosen = 1, .inner = 32, .form = ExpertForm::kStackedInOutAlternating};
  for (const auto dtype : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto source = expert_source(file, kExpertPrefix, shape, 32, dtype, at::kCPU);
    for (int64_t e = 0; e < 2; ++e) {
      const Expert expert = source->take(e);
      const at::Tensor pair = expected.at("mxfp4.gate_up_proj")[e].t(),
                       down = expected.at("mxfp4.down_proj")[e].t();
      EXPECT_TRUE(same_bits(expert.gate, pair.slice(0, 0, 64, 2), dtype));
      EXPECT_TRUE(same_bits(expert.up, pair.slice(0, 1, 64, 2), dtype));
      EXPECT_TRUE(same_bits(expert.down, down, dtype));
      const at::Tensor bias = file->take(kExpertPrefix + ".gate_up_proj_bias", dtype)[e];
      EXPECT_TRUE(same_bits(expert.up_bias, bias.slice(0, 1, 64, 2), dtype));
    }
  }
}

TEST(ExpertFormats, Fp8AsTransformersWidensIt) {
  const std::shared_ptr<const Checkpoint> file = open_checkpoint(golden_path(kFormats + "fp8.safetensors"));
  const auto expected = golden_tensors(kFormats + "expected.safetensors");
  const ExpertShape shape{.count = 1, .chosen = 1, .inner = 256};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Expert expert = expert_source(file, kExpertPrefix, shape, 4, dtype, at::kCPU)->take(0);
    const auto of = [&](const char* matrix) {
      return expected.at(fmt::format("fp8.{}.0.{}_proj.weight", kExpertPrefix, matrix));
    };
    EXPECT_TRUE(same_bits(expert.gate, of("gate"), dtype) && same_bits(expert.up, of("up"), dtype) &&
                same_bits(expert.down, of("down"), dtype));
    const std::string other = "model.layers.0.self_attn.o_proj.weight";
    EXPECT_TRUE(same_bits(take_scaled(*file, other, dtype), expected.at("fp8." + other), dtype));
  }
  // The last block of DeepSeek's own matrices may be smaller; then 128 stays the size of the others.
  const at::Tensor weight = at::randn({130, 3}, at::detail::createCPUGenerator(50)).to(at::kFloat8_e4m3fn);
  const at::Tensor widened =
      widen_scaled_blocks(weight, at::tensor({2.0F, 3.0F}).view({2, 1}), at::kFloat, "w");
  EXPECT_TRUE(at::equal(widened.narrow(0, 0, 128), weight.to(at::kFloat).narrow(0, 0, 128) * 2));
  EXPECT_TRUE(at::equal(widened.narrow(0, 128, 2), weight.to(at::kFloat).narrow(0, 128, 2) * 3));
  EXPECT_THROW(widen_scaled_blocks(weight, at::zeros({3, 1}), at::kFloat, "w"), InputError);
}

TEST(ExpertStore, ShapesThatDoNotFitAreNamed) {
  const TemporaryFolder folder;
  const auto error_of = [&](const std::map<std::string, at::Tensor>& tensors,
                            ExpertForm form) -> std::string {
    write_safetensors_file(folder.path("m.safetensors"), tensors);
    try {
      expert_source(open_checkpoint(folder.path("m.safetensors")), "x",
                    {.count = 2, .inner = 3, .form = form}, 4, at::kFloat, at::kCPU);
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  const at::Tensor pair = at::zeros({2, 6, 4}), down = at::zeros({2, 4, 3});
  EXPECT_EQ(error_of({{"x.gate_up_proj", pair}, {"x.down_proj", down}}, ExpertForm::kStackedOutIn), "");
  EXPECT_THAT(error_of({{"x.gate_up_proj", pair}, {"x.down_proj", down}}, ExpertForm::kStackedInOut),
              AllOf(HasSubstr("m.safetensors"), HasSubstr("x.gate_up_proj"),
                    HasSubstr("expected [2, 4, 6], found [2, 6, 4]")));
  EXPECT_THAT(error_of({{"x.gate_up_proj", pair}}, ExpertForm::kStackedOutIn), HasSubstr("x.down_proj"));
  EXPECT_THAT(error_of({{"x.0.gate_proj.weight", at::zeros({3, 4})}}, ExpertForm::kEach),
              HasSubstr("x.0.up_proj.weight"));
  EXPECT_THAT(error_of({{"x.gate_up_proj_blocks", at::zeros({2, 6, 1, 16}, at::kByte)}},
                       ExpertForm::kStackedInOutAlternating),
              HasSubstr("multiple of 32"));
}

TEST(TakeRows, IsAPartOfTheWhole) {
  const std::string gguf = golden_path("language/gguf-blocks/blocks.gguf");
  const std::string corpus = source_path("tests/fuzz/corpus/pytorch/");  // strided, deflated
  for (const std::string& path : {gguf, golden_path("architectures/gpt_oss/model.safetensors"),
                                  corpus + "views.bin", corpus + "deflated.bin"}) {
    const auto file = path == gguf ? open_gguf_file(path) : open_checkpoint(path);
    const auto view = rename_tensors(*file, [](const std::string& name) { return "renamed." + name; });
    for (const TensorInfo& info : file->tensors()) {
      for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        if (info.shape.empty()) continue;
        const int64_t first = info.shape[0] / 2;
        const at::Tensor whole = file->take(info.name, dtype).narrow(0, first, info.shape[0] - first);
        EXPECT_TRUE(at::equal(view->take_rows("renamed." + info.name, first, whole.size(0), dtype), whole))
            << info.name;
      }
    }
  }
}

}  // namespace
}  // namespace ropescope
