// `ropescope generate` as a user runs it: with images, and on the real model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"
#include "tests/support/real_model.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

class GenerateLlava : public ::testing::Test {
 protected:
  void SetUp() override { write_tiny_llava(folder_.path("")); }
  std::string flags() const {
    return " --model '" + folder_.path("") + "' --image '" + picture_ + "' --image '" +
           synthetic_image("gray_37x53.png") + "' ";
  }

  TemporaryFolder folder_;
  std::string picture_ = synthetic_image("rgba_64x41.png");
};

TEST_F(GenerateLlava, AnswersAsTraceContinues) {
  for (const std::string scheme : {"", " --scheme id-align", " --scheme mrope:sections=2/3/3"}) {
    SCOPED_TRACE(scheme);
    const std::string prompt = "'Compare <image> with <image>, please.'";
    const auto result = run_ropescope("generate --quiet --template none --json --max-new-tokens 6" + flags() +
                                      "--prompt " + prompt + scheme);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    const Json answer = parse_json(result.out, "generate");
    const auto trace = run_ropescope("trace --quiet --force --generate 6 --json" + flags() + "--text " +
                                     prompt + scheme + " --output '" + folder_.path("t.h5") + "'");
    ASSERT_EQ(trace.exit_code, 0) << trace.err;
    auto expected = parse_json(trace.out, "trace").at("generated").at(0).get<std::vector<int64_t>>();
    if (answer.at("ended")) expected.resize(answer.at("ids").size());
    EXPECT_EQ(answer.at("ids").get<std::vector<int64_t>>(), expected);
    EXPECT_EQ(answer.at("prompt_tokens"), ResultReader(folder_.path("t.h5")).read("/trace/logits").size(1));
  }
}

TEST_F(GenerateLlava, TheUsualTemplateHasTheImagesInFront) {
  const auto result =
      run_ropescope("generate --quiet --json --max-new-tokens 1" + flags() + "--prompt 'What is this?'");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  const Json answer = parse_json(result.out, "generate");
  EXPECT_EQ(answer.at("template"), "vicuna_v1");
  EXPECT_THAT(answer.at("prompt").get<std::string>(),
              HasSubstr("USER: <image>\n<image>\nWhat is this? ASSISTANT:"));
  const auto streamed =
      run_ropescope("generate --quiet --max-new-tokens 1" + flags() + "--prompt 'What is this?'");
  EXPECT_EQ(streamed.out, answer.at("text").get<std::string>() + "\n");
}

TEST_F(GenerateLlava, OrientationAndTransparencyAreAsAsked) {
  const std::string turned = synthetic_image("exif_48x33.jpg");
  const auto tokens = [&](const std::string& image, const std::string& more) {
    const auto result = run_ropescope("generate --quiet --json --max-new-tokens 2 --prompt x --model '" +
                                      folder_.path("") + "' --image '" + image + "' " + more);
    EXPECT_EQ(result.exit_code, 0) << result.err;
    return parse_json(result.out, "generate").at("prompt_tokens").get<int64_t>();
  };
  // 48x33 pixels, tagged as lying on the side.
  const auto of_image = [&](const std::string& exif) {
    const auto geometry = run_ropescope("preprocess --quiet --json --model '" + folder_.path("") +
                                        "' --image '" + turned + "' --exif " + exif);
    return parse_json(geometry.out, "preprocess").at("tokens").get<int64_t>();
  };
  EXPECT_NE(of_image("apply"), of_image("ignore"));
  EXPECT_EQ(tokens(turned, "--exif apply") - tokens(turned, ""), of_image("apply") - of_image("ignore"));
  EXPECT_EQ(tokens(picture_, "--alpha drop"), tokens(picture_, ""));
  const auto wrong = run_ropescope("generate --quiet --prompt x --exif yes" + flags());
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("--exif: expected apply or ignore"));
}

TEST_F(GenerateLlava, SamplesRepeatWithTheirSeed) {
  const std::string draw = "generate --quiet --json --max-new-tokens 8 --temperature 1.5 --top-p 0.95" +
                           flags() + "--prompt x --seed ";
  const auto ids = [&](const std::string& seed) {
    return parse_json(run_ropescope(draw + seed).out, "generate").at("ids");
  };
  EXPECT_EQ(ids("1"), ids("1"));
  EXPECT_NE(ids("1"), ids("2"));
}

TEST_F(GenerateLlava, MistakesAreSentences) {
  const auto refused = [&](const std::string& arguments, int code, const std::string& words) {
    const auto result = run_ropescope("generate --quiet " + arguments);
    EXPECT_EQ(result.exit_code, code) << arguments << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
  };
  refused(flags(), 2, "--prompt");
  refused(flags() + "--prompt x --template vicuna", 2, "did you mean \"vicuna_v1\"");
  refused(flags() + "--prompt x --max-new-tokens 0", 2, "--max-new-tokens");
  refused(flags() + "--prompt x --temperature -1", 2, "--temperature");
  refused(flags() + "--prompt '<image>'", 3, "images");
  refused(flags() + "--prompt x --scheme id-aline", 2, "id-align");
  refused("--prompt x --model '" + golden_path("vision/clip-vision-tiny") + "'", 2, "vision tower alone");
}

TEST(GenerateText, TheRealModelAnswers) {
  const std::string path = smollm2_path();
  if (path.empty()) GTEST_SKIP() << "the real model is not installed";
  const auto result = run_ropescope("generate --quiet --model '" + path +
                                    "' --prompt 'What is the capital of France?' --max-new-tokens 12");
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.out, HasSubstr("Paris"));
}

}  // namespace
}  // namespace ropescope
