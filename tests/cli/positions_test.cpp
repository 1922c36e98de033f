#include <algorithm>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include <ATen/ops/tensor.h>

#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/io/result_file.h"
#include "ropescope/rope/scheme.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

using testing::all_close;
using testing::golden_json;
using testing::golden_path;
using testing::golden_tensors;
using testing::run_ropescope;
using testing::TemporaryFolder;

std::vector<Json> objects(const std::string& arguments) {
  const auto run = run_ropescope("positions --json " + arguments);
  EXPECT_EQ(run.exit_code, 0) << run.err;
  return testing::json_lines(run.out);
}

std::string refusal(const std::string& arguments, int exit_code) {
  const auto run = run_ropescope("positions " + arguments);
  EXPECT_EQ(run.exit_code, exit_code) << run.err;
  EXPECT_EQ(run.out, "");
  EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  return run.err;
}

TEST(PositionsCommand, PrintsTheGoldenLayoutsOneObjectALine) {
  const Json golden = golden_json("positions/schemes/mrope.json");
  const auto lines =
      objects("--scheme mrope:sections=16/24/24 --layout-file " + golden_path("positions/layouts.json"));
  ASSERT_EQ(lines.size(), 19u);
  // The variant of the defaults: stride 2.
  const Json* variant = nullptr;
  for (const Json& one : golden.at("variants")) {
    if (!one.at("params").contains("temporal_stride") || one.at("params").at("temporal_stride") == 2)
      variant = &one;
  }
  ASSERT_NE(variant, nullptr);
  for (const Json& line : lines) {
    const std::string name = line.at("name");
    SCOPED_TRACE(name);
    EXPECT_EQ(line.at("scheme"), "mrope:sections=16/24/24");
    const Json& record = variant->at("layouts").at(name);
    EXPECT_EQ(line.at("coordinates"), record.at("positions"));
    EXPECT_EQ(line.at("next"), record.at("next"));
    EXPECT_EQ(line.at("modality").size(), line.at("coordinates")[0].size());
  }
}

TEST(PositionsCommand, OneCoordinateGivesOneRowOfIntegers) {
  const auto run = run_ropescope("positions --json --scheme id-align --layout text:2,anyres:2x2+4x4,text:1");
  EXPECT_NE(run.out.find("\"coordinates\":[[0,1,2,3,4,5,2,2,3,3,3,2,2,3,3,3,4,4,5,5,5,4,4,5,5,5,6]]"),
            std::string::npos)
      << run.out;
  const Json object = parse_json(run.out, "stdout");
  EXPECT_EQ(object.at("next"), 7);
  EXPECT_EQ(object.at("modality"), Json::parse("[0,0,1,1,1,1,2,2,2,2,3,2,2,2,2,3,2,2,2,2,3,2,2,2,2,3,0]"));
  const Json half = objects("--scheme v2pe:delta=0.5 --layout text:2,image:1x3,text:1").front();
  EXPECT_EQ(half.at("coordinates"), Json::parse("[[0,1,1.5,2,2.5,3.5]]"));
}

TEST(PositionsCommand, SeveralSchemesAreDoneInTurn) {
  const auto lines = objects(
      "--scheme 'vanilla;mrope:sections=8/12/12,temporal_stride=1;dipe' --layout text:2,image:2x2,text:1");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("scheme"), "vanilla");
  EXPECT_EQ(lines[1].at("scheme"), "mrope:sections=8/12/12,temporal_stride=1");
  EXPECT_FALSE(lines[1].contains("anchors"));
  EXPECT_EQ(lines[2].at("anchors"), Json::parse("[[0,0,2,2,2,2,4],[0,0,2,2,2,2,4],[0,0,2,2,2,2,4]]"));
  EXPECT_EQ(lines[2].at("next_anchor"), 4);
}

TEST(PositionsCommand, MasksSlopesAndBias) {
  const TemporaryFolder folder;
  const auto cca = objects("--mask --scheme cca --layout text:1,image:3x3,text:1").front();
  EXPECT_EQ(cca.at("allowed").size(), 11u);
  EXPECT_EQ(cca.at("allowed")[1], "11111011110");  // the outer ring sees itself, not the centre
  const std::string file = folder.path("a.h5");
  const auto alibi =
      objects("--scheme alibi:heads=4 --layout text:1,anyres:2x2+2x2,text:2 --output " + file).front();
  EXPECT_EQ(alibi.at("slopes"), Json::parse("[0.25,0.0625,0.015625,0.00390625]"));
  const at::Tensor bias = ResultReader(file).read("/bias");
  ASSERT_EQ(bias.sizes(), at::IntArrayRef({4, 13, 13}));
  EXPECT_EQ(bias[1][12][2].item<double>(), -10 * 0.0625);
  EXPECT_EQ(bias[1][2][12].item<double>(), 0);
  const Json golden = golden_json("positions/alibi.json");
  for (const auto& [heads, slopes] : golden.at("slopes").items()) {
    const Json object = objects("--scheme alibi:heads=" + heads + " --layout text:1").front();
    ASSERT_EQ(object.at("slopes").size(), slopes.size());
  }
}

// cos and sin of every record of the public code, from the flags of the contract.
TEST(PositionsCommand, RotaryTablesEqualTheGoldenOnes) {
  const TemporaryFolder folder;
  const auto tensors = golden_tensors("positions/rotations.safetensors");
  const std::string layout = folder.path("layout.json");
  int64_t compared = 0;
  const Json golden = golden_json("positions/rotations.json");
  for (const Json& record : golden.at("entries")) {
    const std::string name = record.at("name");
    if (name != "mrope_i_reset" && name != "mhrope_reset" && name != "hope" && name != "mmrope") continue;
    SCOPED_TRACE(name);
    std::ofstream(layout) << record.at("segments").dump();
    const std::map<std::string, std::string> schemes = {
        {"mrope_i_reset", "mrope-interleave:sections=12/10/10,spatial_reset=true"},
        {"mhrope_reset", "mhrope:sections=1/1/1,spatial_reset=true"},
        {"hope", "hope:sections=8/12/12,temporal_stride=1.5"},
        {"mmrope", "mmrope:position_scale=4/8/8"}};
    const std::string file = folder.path(name + ".h5");
    objects("--scheme " + schemes.at(name) + " --layout-file " + layout + " --head-dim 64 --kv-heads " +
            record.at("kv_heads").dump() + " --rope-theta " + record.at("theta").dump() + " --output " +
            file);
    const ResultReader reader(file);
    for (const std::string which : {"cos", "sin"}) {
      at::Tensor expected = tensors.at(name + "/" + which);
      if (expected.dim() == 2) expected = expected.unsqueeze(0);
      EXPECT_TRUE(all_close(reader.read("/rotary/" + which), expected.narrow(2, 0, 32), 2e-5)) << which;
    }
    EXPECT_EQ(reader.read("/rotary/inv_freq").scalar_type(), at::kDouble);
    EXPECT_EQ(reader.read("/rotary/axis").size(1), 32);
    const at::Tensor ids = tensors.at(name + "/position_ids").to(at::kDouble);
    EXPECT_TRUE(all_close(reader.read("/positions/coordinates"), ids, 1e-4));
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

TEST(PositionsCommand, HeadsAndScalingOfTheRotation) {
  const TemporaryFolder folder;
  const auto rotary = [&](const std::string& flags, const std::string& file) {
    objects(flags + " --layout text:9 --output " + folder.path(file));
    return std::make_unique<ResultReader>(folder.path(file));
  };
  // Without --kv-heads as many heads as the sections count, without --head-dim as many channels.
  EXPECT_EQ(rotary("--scheme mhrope", "a.h5")->read("/rotary/axis").sizes(), at::IntArrayRef({8, 64}));
  EXPECT_EQ(rotary("--scheme mrope:sections=8/12/12", "b.h5")->read("/rotary/cos").sizes(),
            at::IntArrayRef({1, 9, 32}));
  const std::string yarn =
      "--scheme vanilla --rope-scaling '{\"rope_type\":\"yarn\",\"factor\":4,"
      "\"original_max_position_embeddings\":4096}'";
  const auto scaled = rotary(yarn, "c.h5");
  const double scale = std::get<double>(scaled->attribute("/rotary", "attention_scale"));
  EXPECT_NEAR(scale, 1.138629436111989, 1e-12);
  EXPECT_NEAR(scaled->read("/rotary/cos")[0][0][0].item<double>(), scale, 1e-6);
  refusal("--scheme mrope:sections=8/12/12 --head-dim 128 --layout text:3 --output " + folder.path("d.h5"),
          2);
  refusal("--scheme mhrope --kv-heads 2 --layout text:3 --criteria", 2);
  EXPECT_FALSE(std::filesystem::exists(folder.path("d.h5")));
}

TEST(PositionsCommand, SeveralRunsLieUnderTheirNames) {
  const TemporaryFolder folder;
  const std::string file = folder.path("p.h5");
  objects(
      "--scheme 'vanilla;mrope/interleaved' --layout text:3,image:2x2 --criteria --misalignment --output " +
      file);
  const ResultReader reader(file);
  EXPECT_EQ(reader.read("/positions/vanilla/coordinates").sizes(), at::IntArrayRef({1, 7}));
  EXPECT_EQ(reader.read("/positions/mrope_interleaved/modality").size(0), 7);
  EXPECT_EQ(reader.read("/rotary/mrope_interleaved/cos").size(2), 64);
  EXPECT_EQ(reader.read_strings("/criteria/scheme").at(1), "mrope/interleaved");
  EXPECT_EQ(reader.read("/criteria/coherent")[1].item<int64_t>(), 1);
  EXPECT_EQ(reader.read("/criteria/frequency_bin_coverage/w")[1].item<double>(), 1);
  EXPECT_TRUE(reader.has("/misalignment/row_differs"));
  refusal("--scheme 'vanilla;vanilla' --layout text:3 --output " + folder.path("q.h5"), 2);
}

TEST(PositionsCommand, CriteriaHaveTheGoldenFields) {
  const Json golden = golden_json("positions/criteria.json");
  const Json object =
      objects(
          "--criteria --scheme mhrope:sections=2/3/3,spatial_reset=true --layout text:10,video:4x6x5,text:5")
          .front();
  const Json& expected = golden.at("schemes").at("mhrope(reset, 2/3/3 of 8)").at("video");
  for (const auto& [field, value] : expected.items()) {
    ASSERT_TRUE(object.at("criteria").contains(field)) << field;
    if (value.is_boolean() || value.is_number_integer()) {
      EXPECT_EQ(object.at("criteria").at(field), value) << field;
    }
  }
  EXPECT_EQ(object.at("published").at("coherent"), true);
  EXPECT_EQ(object.at("drift").at("kind"), "shift");
  EXPECT_EQ(object.at("drift").at("rows"), 1.0);
  EXPECT_TRUE(objects("--criteria --scheme vanilla --layout text:3").front().at("drift").is_null());
  const auto table =
      run_ropescope("positions --criteria --scheme 'vanilla;videorope' --layout text:10,image:6x8,text:5");
  EXPECT_NE(table.out.find("1 of 2 dimensions kept"), std::string::npos) << table.out;
  EXPECT_NE(table.out.find("36 visual tokens at or after the next text"), std::string::npos) << table.out;
  const auto markdown =
      run_ropescope("positions --criteria --markdown --scheme mrope --layout text:10,image:6x8,text:5");
  EXPECT_EQ(markdown.out.rfind("| scheme | coherent |", 0), 0u) << markdown.out;
  const auto csv =
      run_ropescope("positions --criteria --csv --scheme mrope --layout text:10,image:6x8,text:5");
  EXPECT_EQ(csv.out.rfind("layout,scheme,", 0), 0u) << csv.out;
}

TEST(PositionsCommand, MisalignmentIsSummedOverBlocks) {
  const Json object = objects(
                          "--misalignment --scheme id-align:resize=bilinear --layout "
                          "text:3,anyres:24x24+37x48,text:2,anyres:24x24+48x31")
                          .front();
  EXPECT_EQ(object.at("misalignment").at("tokens"), 1776 + 1488);
  EXPECT_EQ(object.at("misalignment").at("same_as_nearest"), 146 + 38);
  EXPECT_EQ(object.at("misalignment").at("not_overlapping_the_assigned_cell"), 1630 + 1426);
  EXPECT_EQ(object.at("distances").at("high_text")[0].at("count"), 1776 + 1488);
  const Json plain = objects("--misalignment --scheme vanilla --layout anyres:24x24+37x48").front();
  EXPECT_EQ(plain.at("misalignment").at("inherits"), false);
}

TEST(PositionsCommand, BudgetAgainstTheTrainedContext) {
  const Json object =
      objects("--context 1000 --scheme vanilla --layout text:35,anyres:24x24+48x48,text:20").front();
  EXPECT_EQ(object.at("budget").at("beyond_context"), 35 + 2928 + 20 - 1000);
  EXPECT_EQ(object.at("budget").at("visual_runs")[0].at("ids"), 2928);
  const auto table =
      run_ropescope("positions --context 1000 --scheme id-align --layout text:35,anyres:24x24+48x48,text:20");
  EXPECT_NE(table.out.find("576 (2928 tokens); 0 tokens at or beyond the trained context of 1000"),
            std::string::npos)
      << table.out;
  EXPECT_NE(table.out.find("high-res 48x48     2304   35 … 610"), std::string::npos) << table.out;
}

TEST(PositionsCommand, AnyresStandsForALayout) {
  const Json grids = objects("--anyres 24x24+48x48 --scheme id-align").front();
  EXPECT_EQ(grids.at("modality").size(), 35u + 2928u + 20u);
  const Json size = objects("--anyres 672x672 --scheme id-align").front();
  EXPECT_EQ(size.at("coordinates"), grids.at("coordinates"));
  const Json siglip = objects("--anyres 768x768 --preset llava-next-siglip --scheme vanilla").front();
  EXPECT_EQ(siglip.at("modality").size(), 35u + 729u + 54u * 55u + 20u);
  refusal("--anyres 24 --scheme vanilla", 2);
  refusal("--anyres 0x5 --scheme vanilla", 2);
  refusal("--anyres 600x600 --preset clip --scheme vanilla", 2);
  refusal("--anyres 24x24+48x48 --layout text:3 --scheme vanilla", 2);
}

TEST(PositionsCommand, TilesInTheSequenceOfAllFamilies) {
  const std::string json =
      R"([{"name":"internvl","segments":[{"text":4},{"anyres":{"h0":3,"w0":3,"h1":6,"w1":9,"newline":false,)"
      R"("order":"tiles-first"}},{"text":11}]},{"name":"idefics3","segments":[{"text":5},{"anyres":{"h0":3,)"
      R"("w0":3,"h1":6,"w1":9,"order":"tiles-first","before":2,"row":1,"gap":2,"end":1}},{"text":16}]},)"
      R"({"name":"gemma3","segments":[{"text":12},{"anyres":{"h0":4,"w0":4,"h1":4,"w1":8,"order":)"
      R"("thumbnail-first","before":2,"between":1,"after":2,"gap":13}},{"text":13}]}])";
  const TemporaryFolder folder;
  const std::string file = folder.write("layouts.json", "{\"layouts\":" + json + "}");
  const std::map<std::string, std::string> cases = {
      {"internvl", "one_image"}, {"idefics3", "one_image"}, {"gemma3", "pan_and_scan"}};
  for (const std::string reading : {"counted", "inherit", "in_place"}) {
    const auto lines =
        objects("--criteria --misalignment --scheme id-align:newline=" + reading + " --layout-file " + file);
    ASSERT_EQ(lines.size(), 3u);
    for (const Json& line : lines) {
      const std::string family = line.at("name"), name = cases.at(family);
      SCOPED_TRACE(family + " " + reading);
      const std::vector<double> ids = line.at("coordinates")[0];
      const auto expected = golden_tensors("vlm/" + family + "/expected.safetensors");
      EXPECT_TRUE(all_close(at::tensor(ids, at::kDouble),
                            expected.at(name + ".idalign." + reading).to(at::kDouble), 0));
      EXPECT_EQ(line.at("distances").at("thumbnail_high")[0].at("mean"), 0.0);
      EXPECT_EQ(line.at("misalignment").at("row_differs"), 0);
      EXPECT_EQ(line.at("criteria").at("visual_visual_collisions"), 0);
    }
  }
  const auto table = run_ropescope(
      "positions --scheme id-align --layout "
      "text:5,anyres:3x3+6x9:tiles-first:before=2:row=1:gap=2:end=1,text:16");
  EXPECT_EQ(table.exit_code, 0) << table.err;
  for (const char* line : {"separators         14   7 … 15", "high-res 6x9       54   7 … 15",
                           "thumbnail 3x3       9   7 … 15", "text                2    5 … 6"}) {
    EXPECT_NE(table.out.find(line), std::string::npos) << table.out;
  }
  const Json spelled = objects("--scheme id-align --layout text:1,tiles:2x3x3x3,thumbnail:3x3").front(),
             named = objects("--scheme id-align --layout text:1,anyres:3x3+6x9:tiles-first").front();
  EXPECT_EQ(spelled.at("coordinates"), named.at("coordinates"));
  EXPECT_EQ(named.at("modality")[1], 2);
  EXPECT_EQ(named.at("modality").back(), 1);
  EXPECT_NE(refusal("--scheme vanilla --layout anyres:3x3+7x9:tiles-first", 2).find("whole tiles of 3x3"),
            std::string::npos);
  EXPECT_NE(refusal("--scheme id-align:newline=shared --layout anyres:3x3+3x3:tiles-first:before=1", 2)
                .find("in_place"),
            std::string::npos);
}

TEST(PositionsCommand, AClipsOwnStepAndWhatComesAfterIt) {
  // fps 0.75, two tokens a second: frames at 0, 5, 10, 16.
  const std::string layout = " --layout text:1,video:4x1x2:step=5.3333334922790527,text:1";
  const Json clip = objects("--scheme mrope:after=extent" + layout).front();
  EXPECT_EQ(clip.at("coordinates")[0], (std::vector<int>{0, 1, 1, 6, 6, 11, 11, 17, 17, 3}));
  EXPECT_EQ(clip.at("next"), 4);
  EXPECT_EQ(objects("--scheme mrope" + layout).front().at("next"), 19);
}

TEST(PositionsCommand, ListsSchemesWithTheirParameters) {
  const auto run = run_ropescope("positions --list");
  EXPECT_EQ(run.exit_code, 0);
  const Json list = objects("--list").front();
  EXPECT_EQ(list.at("schemes").size(), scheme_definitions().size());
  for (const Json& scheme : list.at("schemes")) {
    EXPECT_NE(run.out.find("\n" + scheme.at("name").get<std::string>() + "\n"), std::string::npos);
    EXPECT_FALSE(scheme.at("source").get<std::string>().empty());
    for (const Json& parameter : scheme.at("parameters")) {
      EXPECT_NE(run.out.find(parameter.at("name").get<std::string>() + "="), std::string::npos);
    }
  }
}

TEST(PositionsCommand, CsvHasEveryToken) {
  const auto run =
      run_ropescope("positions --csv --scheme 'v2pe:delta=0.25;mrope' --layout text:2,image:2x2,text:1");
  EXPECT_EQ(std::count(run.out.begin(), run.out.end(), '\n'), 1 + 2 * 7);
  EXPECT_NE(run.out.find(",v2pe:delta=0.25,2,image,1.25,,\n"), std::string::npos) << run.out;
  EXPECT_NE(run.out.find(",mrope,5,image,2,3,3\n"), std::string::npos) << run.out;
}

TEST(PositionsCommand, PicturesAreDrawnAndRedrawnFromTheResult) {
  const TemporaryFolder folder;
  const std::string base =
      "positions --quiet --scheme 'vanilla;id-align;mrope' --layout text:5,anyres:6x6+12x9,text:3 ";
  const std::string file = folder.path("p.h5");
  ASSERT_EQ(run_ropescope(base + "--plot " + folder.path("p.svg") + " --output " + file).exit_code, 0);
  ASSERT_EQ(run_ropescope("plot " + file + " --output " + folder.path("again.svg")).exit_code, 0);
  const std::string svg = read_file(folder.path("p.svg"));
  // gnuplot numbers the embedded pictures anew; everything else is the same.
  EXPECT_EQ(svg.size(), read_file(folder.path("again.svg")).size());
  for (const char* text :
       {"thumbnail 6×6", "high-res 12×9", "id-align", "mrope, axis w", "thumbnail corner"}) {
    EXPECT_NE(svg.find(text), std::string::npos) << text;
  }
  for (const char* name : {"q.png", "q.pdf"}) {
    EXPECT_EQ(run_ropescope(base + "--plot " + folder.path(name)).exit_code, 0);
    EXPECT_GT(std::filesystem::file_size(folder.path(name)), 5000u);
  }
  refusal("--scheme vanilla --layout text:3 --plot " + folder.path("p.gif"), 2);
  refusal("--scheme vanilla --layout text:3 --plot " + folder.path("p.svg"), 2);
}

TEST(PositionsCommand, TilesAreDrawnAndRedrawnFromTheResult) {
  const TemporaryFolder folder;
  const std::string result = folder.path("tiles.h5"), direct = folder.path("direct.svg"),
                    redrawn = folder.path("redrawn.svg");
  const auto run = run_ropescope(
      "positions --scheme \"vanilla;id-align\" --layout text:5,anyres:3x3+6x9:tiles-first:before=2:row=1:gap=2,"
      "text:4 --output " +
      result + " --plot " + direct);
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const std::string picture = read_file(direct);
  for (const char* word : {"tiles 6×9", "separators", "thumbnail 3×3"}) {
    EXPECT_NE(picture.find(word), std::string::npos) << word;
  }
  ASSERT_EQ(run_ropescope("plot " + result + " --output " + redrawn).exit_code, 0);
  EXPECT_EQ(read_file(redrawn).size(), picture.size());
}

TEST(PositionsCommand, MistakesGiveASentence) {
  const TemporaryFolder folder;
  const auto says = [](const std::string& arguments, int exit_code, const std::string& part) {
    const std::string text = refusal(arguments, exit_code);
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  says("--scheme idalign --layout text:5", 2, "unknown scheme \"idalign\"; did you mean \"id-align\"?");
  says("--scheme mrope:section=16/24/24 --layout text:5", 2,
       "unknown parameter \"section\"; did you mean \"sections\"?");
  says("--scheme mrope:sections=16/24 --layout text:5", 2, "16/24");
  says("--scheme mrope:sections=16/24/25 --head-dim 128 --layout text:5 --criteria", 2,
       "expected 64 channels");
  says("--scheme mrope:sections=16/24/25 --head-dim 128 --layout text:5", 2, "expected 64 channels");
  says("--scheme mhrope --kv-heads 2 --layout text:5", 2, "key/value head");
  says("--scheme dipe+cca --layout text:2,image:2x2,text:2", 2, "exclude each other");
  says("--scheme vanilla --layout text:-4", 2, "at least one token, found \"text:-4\"");
  says("--scheme vanilla --layout image:-1x4", 2, "at least one row, column and frame");
  says("--scheme vanilla --layout text:4,", 2, "expected parts like");
  says("--scheme pype --layout text:5", 2, "interval=n");
  says("--scheme vanilla --layout text:5,imag:3x4", 2, "imag:3x4");
  says("--scheme vanilla --layout text:0", 2, "text:0");
  says("--scheme vanilla --layout image:99999999x99999999", 2, "no more than");
  says("--scheme vanilla", 2, "--layout");
  says("--layout text:5", 2, "--scheme");
  says("--scheme vanilla --layout text:5 --head-dim 0", 2, "--head-dim");
  says("--scheme vanilla --layout text:5 --head-dim 7", 2, "--head-dim");
  says("--scheme vanilla --layout text:5 --mask", 2, "--json");
  says("--scheme vanilla --layout text:5 --preset llava-next-clip", 2, "--preset");
  says("--scheme vanilla --layout text:5 --rope-scaling '{' --criteria", 2, "--rope-scaling");
  says("--scheme circlerope:dff_rate=0.5 --layout video:2x3x3", 2, "circlerope");
  says("--scheme vanilla --layout text:20000 --mask --json", 2, "--mask");
  says("--scheme vanilla --layout text:5 --layout-fil x", 2, "did you mean \"--layout-file\"");
  const std::string file = folder.path("l.json");
  const auto file_says = [&](const std::string& content, const std::string& part) {
    std::ofstream(file) << content;
    says("--scheme vanilla --layout-file " + file, 3, part);
  };
  file_says("{\"layouts\":[]}", "at least one layout");
  file_says("[{\"txt\":5}]", "txt");
  file_says("[{\"image\":{\"h\":-4,\"w\":4}}]", "segment 0");
  file_says("[{\"anyres\":{\"h0\":4,\"w0\":4,\"h1\":4}}]", "w1");
  file_says("[", "l.json");
  says("--scheme vanilla --layout-file " + folder.path("missing.json"), 3, "missing.json");
}

}  // namespace
}  // namespace ropescope
