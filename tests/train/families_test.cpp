// Every family that can be trained learns, and comes back the same from a step's folder and from an exported one.
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>

#include "ropescope/architectures/architecture.h"
#include "ropescope/train/export.h"

#include "tests/support/golden.h"
#include "tests/support/golden_families.h"
#include "tests/train/text_process.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

std::vector<std::string> trained_families() {
  std::vector<std::string> trained;
  for (const std::string& name : golden_families()) {
    if (is_trainable(read_decoder_config(golden_path("architectures/" + name)))) trained.push_back(name);
  }
  return trained;
}

class TrainedFamily : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Golden, TrainedFamily, ::testing::ValuesIn(trained_families()), family_test_name);

at::Tensor logits_of(const Decoder& decoder) {
  const at::NoGradGuard no_grad;
  const PassEncoding encoding = plain_encoding(decoder.config, 9);
  ForwardInput input;
  input.input_ids = at::arange(3, 12, at::kLong).unsqueeze(0);
  input.encoding = &encoding;
  return forward(decoder, input).logits;
}

Decoder load(const std::string& folder) {
  return load_decoder(*open_checkpoint(folder), read_decoder_config(folder), {});
}

TEST_P(TrainedFamily, LearnsAndComesBackTheSame) {
  const std::string model = golden_path("architectures/" + GetParam());
  const TemporaryFolder folder;
  TrainingRunSettings settings;
  settings.total_steps = 2;
  TextProcess process(model, folder.path("run"), settings);
  const at::Tensor before = logits_of(process.decoder);
  process.run->run();
  const at::Tensor after = logits_of(process.decoder);
  EXPECT_FALSE(after.equal(before));
  EXPECT_TRUE(logits_of(load(folder.path("run/checkpoints/step-2"))).equal(after));
  export_model(find_export_source(folder.path("run"), {}), folder.path("exported"), at::kFloat,
               /*force=*/false);
  EXPECT_TRUE(logits_of(load(folder.path("exported"))).equal(after));
}

}  // namespace
}  // namespace ropescope
