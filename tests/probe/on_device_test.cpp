// What is measured of a model, away from the CPU's own loops: pairs, moments, profiles, rows of attention, continuations.
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device_branch.h"
#include "ropescope/probe/attention_probe.h"
#include "ropescope/probe/profile.h"
#include "ropescope/probe/sampler.h"

#include "tests/support/golden.h"
#include "tests/support/places.h"
#include "tests/support/pretend_device.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

class OnDevice : public ::testing::TestWithParam<Place> {};
INSTANTIATE_TEST_SUITE_P(Place, OnDevice, ::testing::ValuesIn(places()),
                         [](const auto& instance) { return instance.param.name; });

TEST_P(OnDevice, LaggedInnerProductsEqualTheCpus) {
  const Place& place = GetParam();
  at::Generator random = at::detail::createCPUGenerator(1);
  const at::Tensor q = at::randn({6, 130, 32}, random, at::kFloat).to(place.dtype);
  const at::Tensor k = at::randn({2, 130, 32}, random, at::kFloat).to(place.dtype);
  const at::Tensor expected = lagged_inner_products(q, k);
  std::optional<GenericKernels> generic;
  if (place.generic) generic.emplace();
  const HostReads reads;
  const at::Tensor found = lagged_inner_products(q.to(place.device), k.to(place.device));
  // Sums of float64 over the same numbers.
  EXPECT_TRUE(all_close(found, expected, 1e-9, 1e-9));
  if (is_pretend(place.device)) {
    EXPECT_EQ(reads.total(), 1);
  }
  if (place_is_chosen()) {
    fmt::print("on-device | pair profile | {:.2e} | 1e-09\n", found.sub(expected).abs().max().item<double>());
  }
}

Decoder tiny_decoder(const Place& place) {
  const std::string path = golden_path("language/qwen2-tiny/safetensors-bf16-tied");
  return load_decoder(*open_checkpoint(path), read_decoder_config(path), {place.device, place.dtype});
}

const Place kCpuPlace{"CPU", at::kCPU, at::kFloat};

// Tolerances are shares of the largest number.
void expect_near(const Place& place, const std::string& what, const at::Tensor& found,
                 const at::Tensor& expected, double in_bfloat = 0.05) {
  const double tolerance = place.dtype == at::kFloat ? 2e-5 : in_bfloat;
  const double error = found.cpu().to(at::kDouble).sub(expected).abs().max().item<double>() /
                       expected.abs().max().item<double>();
  EXPECT_LE(error, tolerance) << what;
  if (place_is_chosen()) fmt::print("on-device | {} | {:.2e} | {:.0e}\n", what, error, tolerance);
}

TEST_P(OnDevice, SamplesEqualTheCpus) {
  const Place& place = GetParam();
  TextSet texts;
  for (const int64_t length : {20, 33, 47}) {
    TokenizedText text;
    text.name = "text";
    for (int64_t i = 0; i < length; ++i) text.ids.push_back(3 + (i * 37 + i * i) % 340);
    texts.texts.push_back(text);
  }
  SampleOptions options;
  options.moments = options.profile = true;
  const Samples expected = sample_texts(tiny_decoder(kCpuPlace), texts, options);
  std::optional<GenericKernels> generic;
  if (place.generic) generic.emplace();
  const Samples found = sample_texts(tiny_decoder(place), texts, options);
  expect_near(place, "sampled q", found.pairs.q, expected.pairs.q);
  expect_near(place, "sampled k", found.pairs.k, expected.pairs.k);
  ASSERT_TRUE(found.profile && found.moments);
  expect_near(place, "profile of pairs", found.profile->mean.narrow(-1, 0, 30),
              expected.profile->mean.narrow(-1, 0, 30));
  expect_near(place, "mean of q", found.moments->mean_q, expected.moments->mean_q);
  expect_near(place, "covariance of q", found.moments->cov_q, expected.moments->cov_q);
}

TEST_P(OnDevice, RowsOfAttentionAndContinuationsEqualTheCpus) {
  const Place& place = GetParam();
  AttentionInput input;
  input.layout = parse_layout("text:4,anyres:3x3+4x4,text:6");
  input.input_ids = at::arange(input.layout.tokens(), at::kLong).mul(31).remainder(340).add(3).unsqueeze(0);
  const Decoder here = tiny_decoder(kCpuPlace), there = tiny_decoder(place);
  const int64_t last = input.tokens() - 1;
  const AttentionRowRequest request{
      {2, 10, last}, std::vector<bool>(static_cast<size_t>(here.config.num_hidden_layers), true)};
  for (const char* scheme : {"vanilla", "id-align", "dipe", "cca", "pype:interval=1", "alibi"}) {
    const SequenceEncoding encoding(Scheme(scheme), input.layout, encoded_model(here.config));
    const auto measure = [&](const Decoder& decoder) {
      std::vector<at::Tensor> rows;
      visit_attention_rows(decoder, input, encoding, request,
                           [&](int64_t, const at::Tensor& of_layer) { rows.push_back(of_layer.cpu()); });
      return std::pair(at::stack(rows), continue_greedily(decoder, input, encoding, 6));
    };
    const auto expected = measure(here);
    std::optional<GenericKernels> generic;
    if (place.generic) generic.emplace();
    const auto found = measure(there);
    expect_near(place, std::string("attention rows: ") + scheme, found.first, expected.first, 0.1);
    if (place.dtype == at::kFloat) {
      EXPECT_EQ(found.second, expected.second) << scheme;
    }
  }
}

}  // namespace
}  // namespace ropescope
