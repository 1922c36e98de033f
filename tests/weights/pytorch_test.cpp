#include <bit>

#include <gtest/gtest.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/weights/pickle.h"
#include "ropescope/weights/pytorch_file.h"

#include "tests/support/golden.h"
#include "tests/weights/refusal.h"
#include "tests/weights/torch_files.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;

// Files that torch.save wrote (PyTorch 2.15), also the fuzzer's seeds.
std::unique_ptr<Checkpoint> open_seed(const std::string& name) {
  return open_checkpoint(source_path("tests/fuzz/corpus/pytorch/") + name);
}

std::string counted_floats(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += le(std::bit_cast<uint32_t>(static_cast<float>(i)));
  return bytes;
}

std::string archive(const std::string& pickle, const std::string& storage) {
  return zip_archive({{"x/data.pkl", p_file(pickle)}, {"x/byteorder", "little"}, {"x/data/0", storage}});
}

void expect_pytorch_refused(const std::string& content, const std::string& part) {
  testing::expect_refused(content, part, parse_pytorch);
}

std::unique_ptr<Checkpoint> open_bytes(const std::string& content) {
  const FileBytes file = file_of(content);
  return make_checkpoint("pytorch", {file.path}, parse_pytorch(file));
}

TEST(Pytorch, ReadsWhatTorchSavesInEveryForm) {
  const at::Tensor a = at::arange(6, at::kFloat).view({2, 3});
  for (const char* name : {"protocol4.bin", "protocol5.bin", "metadata.bin", "older_form.bin"}) {
    const auto checkpoint = open_seed(name);
    ASSERT_EQ(checkpoint->tensors().size(), 2U) << name;
    EXPECT_EQ(checkpoint->tensors()[1].dtype, "F16");
    EXPECT_TRUE(at::equal(checkpoint->take("a", at::kFloat), a)) << name;
    EXPECT_TRUE(at::equal(checkpoint->take("b", at::kFloat), a)) << name;
  }
}

TEST(Pytorch, PutsViewsInOrderWhetherStoredOrDeflated) {
  const at::Tensor base = at::arange(12, at::kFloat);
  for (const char* name : {"views.bin", "deflated.bin"}) {
    const auto checkpoint = open_seed(name);
    const at::Tensor transposed = checkpoint->take("t", at::kBFloat16);
    EXPECT_TRUE(transposed.is_contiguous());
    EXPECT_TRUE(at::equal(transposed.to(at::kFloat), base.slice(0, 0, 6).view({2, 3}).t())) << name;
    EXPECT_TRUE(at::equal(checkpoint->take("v", at::kFloat), base.slice(0, 4, 8))) << name;
    EXPECT_TRUE(at::equal(checkpoint->take("e", at::kFloat), base[3].expand({2, 2}))) << name;
    EXPECT_TRUE(at::equal(checkpoint->take("p", at::kFloat), base.slice(0, 0, 6).view({2, 3}))) << name;
    EXPECT_EQ(checkpoint->take("empty", at::kFloat).sizes(), at::IntArrayRef({0, 3}));
    EXPECT_EQ(checkpoint->take("s", at::kFloat).item<float>(), 2.5F);
  }
}

TEST(Pytorch, ReadsTypesWithoutAStorageClassOfTheirOwn) {
  const auto checkpoint = open_seed("types.bin");
  EXPECT_TRUE(at::equal(checkpoint->take("u16", at::kFloat), at::arange(4, at::kFloat)));
  EXPECT_TRUE(at::equal(checkpoint->take("f8", at::kFloat), at::arange(6, at::kFloat).view({2, 3})));
  EXPECT_TRUE(at::equal(checkpoint->take("i64", at::kLong), at::arange(-2, 2, at::kLong)));
  EXPECT_EQ(checkpoint->find("f64")->dtype, "F64");
  EXPECT_THROW(checkpoint->take("c", at::kFloat), InputError);
}

TEST(Pytorch, AStoredTensorStaysInTheMap) {
  const FileBytes file = file_of(archive(p_dict({{"x", p_tensor("0", 4, 0, {4}, {1})}}), counted_floats(4)));
  const auto tensors = parse_pytorch(file);
  EXPECT_GE(tensors.at(0).elements.data(), file.bytes.data());
  EXPECT_LE(tensors[0].elements.data() + tensors[0].elements.size(), file.bytes.data() + file.bytes.size());
}

TEST(Pytorch, ReadsZip64) {
  const std::string pickle = p_file(p_dict({{"x", p_tensor("0", 4, 0, {4}, {1})}}));
  const std::string content = zip_archive(
      {{"x/data.pkl", pickle, 0, 0, true}, {"x/data/0", counted_floats(4), 0, 0, true}}, /*zip64_end=*/true);
  EXPECT_TRUE(at::equal(open_bytes(content)->take("x", at::kFloat), at::arange(4, at::kFloat)));
}

TEST(Pytorch, NamesTheFunctionThatItRefusesToCall) {
  for (const std::string name : {"os\nsystem", "builtins\neval", "torch._utils\n_rebuild_sparse_tensor",
                                 "torch.storage\n_load_from_bytes", "torch.nn.modules.linear\nLinear"}) {
    std::string shown = name;
    shown[shown.find('\n')] = '.';
    expect_pytorch_refused(archive("c" + name + "\n" + p_tuple({p_text("echo")}) + "R", ""), shown);
    const size_t cut = name.find('\n');
    expect_pytorch_refused(archive(p_text(name.substr(0, cut)) + p_text(name.substr(cut + 1)) + "\x93)R", ""),
                           shown);
  }
  expect_pytorch_refused(archive("(ios\nsystem\n", ""), "opcode 0x69");                    // INST
  expect_pytorch_refused(archive("ccollections\nOrderedDict\n)\x81", ""), "opcode 0x81");  // NEWOBJ
}

/// A call of _rebuild_from_type_v2 on the function and arguments of p_tensor.
std::string p_from_type(const std::string& type, const std::string& state, const std::string& more = "") {
  const std::string tensor = p_tensor("0", 6, 0, {2, 3}, {3, 1});
  const size_t arguments = tensor.find('(');
  return "ctorch._tensor\n_rebuild_from_type_v2\n(" + tensor.substr(0, arguments) + type +
         tensor.substr(arguments, tensor.size() - arguments - 1) + state + more + "tR";
}

std::string archive_of(const std::string& value) {
  return zip_archive({{"x/data.pkl", p_file(p_dict({{"x", value}}))}, {"x/data/0", counted_floats(6)}});
}

// torch.nn.Buffer makes a torch.Tensor with attributes; torch.save writes those beside it.
TEST(Pytorch, ReadsABufferWithItsAttributes) {
  const std::string attributes = p_dict({{"persistent", "\x88"}, {"_is_buffer", "\x88"}});
  const std::string plain = "ctorch\nTensor\n";
  const at::Tensor x = open_bytes(archive_of(p_from_type(plain, attributes)))->take("x", at::kFloat);
  EXPECT_TRUE(at::equal(x, at::arange(6, at::kFloat).view({2, 3})));
  const auto refused = [&](const std::string& value, const std::string& part) {
    expect_pytorch_refused(archive_of(value), part);
  };
  refused(p_from_type("cmine\nTensor\n", attributes), "mine.Tensor");
  refused(p_from_type("ctorch\nSize\n", attributes), "plain torch.Tensor");
  refused(p_from_type(plain, p_text("state")), "argument 3");
  refused(p_from_type(plain, attributes, p_text("more")), "plain torch.Tensor");
  refused("ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\nSize\n" + plain + ")}tR", "plain torch.Tensor");
  refused("ctorch\nTensor\n)R", "a call of a type");
}

TEST(Pytorch, RefusesSizesStridesAndOffsetsThatLeaveTheStorage) {
  constexpr int64_t kMax = INT64_MAX;
  struct Case {
    int64_t count, offset;
    std::vector<int64_t> sizes, strides;
    std::string part;
  };
  const std::vector<Case> cases = {
      {4, 0, {5}, {1}, "beyond its storage"},
      {4, 1, {4}, {1}, "beyond its storage"},
      {4, 0, {2, 2}, {3, 1}, "beyond its storage"},
      {4, -1, {4}, {1}, "impossible"},
      {4, 0, {-4}, {1}, "impossible"},
      {4, 0, {4}, {-1}, "beyond its storage"},
      {4, 3, {4}, {-1}, "beyond its storage"},
      {4, 0, {4}, {1, 1}, "impossible"},
      {4, 0, {kMax, kMax}, {0, 0}, "impossible"},
      {4, 0, {0, kMax, kMax}, {1, 1, 1}, "impossible"},
      {4, 0, {kMax}, {kMax}, "beyond its storage"},
      {4, kMax, {4}, {1}, "beyond its storage"},
      {4, kMax, {1}, {1}, "beyond its storage"},
      {4, 0, {int64_t{1} << 40}, {0}, "more than the file"},
      {5, 0, {4}, {1}, "expected a storage"},
      {3, 0, {3}, {1}, "expected a storage"},
      {kMax, 0, {4}, {1}, "expected a storage"},
      {int64_t{1} << 62, 0, {4}, {1}, "expected a storage"},
      {-4, 0, {4}, {1}, "a storage of -4"},
  };
  for (const Case& c : cases) {
    expect_pytorch_refused(
        archive(p_dict({{"x", p_tensor("0", c.count, c.offset, c.sizes, c.strides)}}), counted_floats(4)),
        c.part);
  }
  const std::vector<int64_t> many(65, 1);
  expect_pytorch_refused(archive(p_dict({{"x", p_tensor("0", 4, 0, many, many)}}), counted_floats(4)),
                         "64 dimensions");
  expect_pytorch_refused(archive(p_dict({{"x", p_tensor("1", 4, 0, {4}, {1})}}), counted_floats(4)),
                         "\"1\" is not in the file");
}

TEST(Pytorch, RefusesAPickleThatIsNoStateDict) {
  const std::string tensor = p_tensor("0", 4, 0, {4}, {1});
  expect_pytorch_refused(archive("]", counted_floats(4)), "state dict");
  expect_pytorch_refused(archive(tensor, counted_floats(4)), "state dict");
  expect_pytorch_refused(archive(p_dict({{"epoch", "K\3"}}), counted_floats(4)), "no tensors");
  expect_pytorch_refused(archive("}(K\1" + tensor + "u", counted_floats(4)), "name is not text");
  EXPECT_THROW(open_bytes(archive(p_dict({{"x", tensor}, {"x", tensor}}), counted_floats(4))), InputError);
}

TEST(Pytorch, RefusesDamagedAndHostilePickles) {
  const auto refused = [](const std::string& pickle, const std::string& part) {
    expect_pytorch_refused(archive(pickle, ""), part);
  };
  refused("t", "no mark");
  refused("u", "no mark");
  refused("\x87", "empty stack");
  refused("(\x85", "empty stack");  // may not reach below the mark
  refused("h\7", "never made");
  refused("X" + le(uint32_t{0xffffffff}), "beyond its end");
  refused("\x8d" + le(~uint64_t{0}), "beyond its end");
  refused("\x8b" + le(uint32_t{0xffffffff}), "beyond its end");
  refused("cno newline", "beyond its end");
  refused("K\1K\2a", "no list");
  refused("K\1K\2K\3s", "no dict");
  refused("](K\1u", "no dict");
  refused("K\1)R", "no function");
  refused("K\1Q", "names no storage");
  refused("ctorch\nFloatStorage\n)R", "call of a type");
  refused("K\1}b", "neither dict nor tensor");
  refused("\x80\x09", "protocol");
  refused(std::string(2'000'000, ']'), "too many");
  refused(std::string(2'000'000, '('), "too many");
  refused("]" + std::string(2'000'000, '2'), "too many");
  // A long tuple that is memoized and used again and again would grow without bound if it were copied.
  refused("(" + std::string(100, 'N') + "tq\1" + "ctorch\nSize\nh\1\x85R", "64 dimensions");
}

TEST(Pytorch, ACyclicOrDeeplyNestedPickleIsOnlyData) {
  // x = []; x.append(x)
  const std::string cyclic = "]q\1h\1a";
  std::string deep;
  for (int i = 0; i < 30'000; ++i) deep += "]";
  for (int i = 1; i < 30'000; ++i) deep += "a";
  const auto checkpoint = open_bytes(archive(
      p_dict({{"cycle", cyclic}, {"deep", deep}, {"x", p_tensor("0", 4, 0, {4}, {1})}}), counted_floats(4)));
  EXPECT_EQ(checkpoint->tensors().size(), 1U);
}

TEST(Pytorch, RefusesHostileArchives) {
  const std::string pickle = p_file(p_dict({{"x", p_tensor("0", 4, 0, {4}, {1})}}));
  const auto refused = [&](std::vector<ZipItem> items, const std::string& part) {
    items.insert(items.begin(), {"x/data.pkl", pickle});
    expect_pytorch_refused(zip_archive(items), part);
  };
  const std::string zeros(4'000'000, '\0');
  const std::string bomb = deflated(zeros);
  ASSERT_LT(bomb.size(), 5000U);
  refused({{"x/data/0", bomb, 8, zeros.size()}}, "zip bomb");
  refused({{"x/data/0", bomb, 8, ~uint64_t{0}, true}}, "zip bomb");
  refused({{"x/data/0", counted_floats(4), 8, 100'000}}, "zip bomb");
  refused({{"x/data/0", counted_floats(4), 0, 17}}, "17 declared");
  refused({{"x/data/0", counted_floats(4)}, {"x/data/0", counted_floats(4)}}, "twice");
  refused({{"x/data/0", counted_floats(4), 12}}, "compression method 12");
  refused({{"x/data/0", counted_floats(4), 0, 0, false, 1}}, "encrypted");
  refused({{"y/data.pkl", pickle}}, "found two");
  refused({{"x/byteorder", "big"}}, "big-endian");
  expect_pytorch_refused(zip_archive({{"x/other", ""}}), "without data.pkl");
  expect_pytorch_refused("PK", "cut short");
}

TEST(Pytorch, RefusesDeflatedDataOfAnotherLength) {
  const std::string pickle = p_file(p_dict({{"x", p_tensor("0", 100, 0, {100}, {1})}}));
  const std::string packed = deflated(counted_floats(100));
  const auto take = [&](const std::string& data) {
    return open_bytes(zip_archive({{"x/data.pkl", pickle}, {"x/data/0", data, 8, 400}}))
        ->take("x", at::kFloat);
  };
  EXPECT_TRUE(at::equal(take(packed), at::arange(100, at::kFloat)));
  EXPECT_THROW(take(packed.substr(0, packed.size() - 8)), InputError);
  EXPECT_THROW(take(deflated(counted_floats(99))), InputError);
  EXPECT_THROW(take(deflated(counted_floats(101))), InputError);
  EXPECT_THROW(take(std::string(50, '\xff')), InputError);
}

TEST(Pytorch, RefusesEntriesThatOverlapOrLeaveTheArchive) {
  const std::string pickle = p_file(p_dict({{"x", p_tensor("0", 4, 0, {4}, {1})}}));
  const std::string whole = zip_archive({{"x/data.pkl", pickle}, {"x/data/0", counted_floats(4)}});
  const size_t second = whole.rfind("PK\1\2");
  const size_t end = whole.rfind("PK\5\6");
  const auto changed = [&](size_t offset, const std::string& bytes) {
    std::string content = whole;
    return content.replace(offset, bytes.size(), bytes);
  };
  EXPECT_EQ(parse_pytorch(file_of(whole)).size(), 1U);
  expect_pytorch_refused(changed(second + 42, le(uint32_t{0})), "overlaps");  // the first entry's place
  expect_pytorch_refused(changed(second + 42, le(uint32_t{0xfffffffe})), "beyond");  // outside
  expect_pytorch_refused(changed(second + 42, le(uint32_t{0xffffffff})), "zip64");   // promised, not there
  expect_pytorch_refused(changed(second + 20, le(uint32_t{0x7fffffff}) + le(uint32_t{0x7fffffff})), "beyond");
  expect_pytorch_refused(changed(second + 28, le(uint16_t{0xffff})), "beyond");         // name length
  expect_pytorch_refused(changed(end + 10, le(uint16_t{0xfffe})), "does not fit");      // entries
  expect_pytorch_refused(changed(end + 12, le(uint32_t{0xfffffff0})), "does not fit");  // directory size
  expect_pytorch_refused(changed(end + 16, le(uint32_t{0xfffffff0})), "does not fit");  // directory place
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(parse_pytorch(file_of(whole.substr(0, length))), InputError) << length;
  }
}

TEST(Pytorch, RefusesEveryTruncationOfTheOlderForm) {
  const FileBytes file = map_file(source_path("tests/fuzz/corpus/pytorch/older_form.bin"));
  for (size_t length = 0; length < file.bytes.size(); ++length) {
    EXPECT_THROW(parse_pytorch({"test.file", file.bytes.first(length), nullptr}), InputError) << length;
  }
}

}  // namespace
}  // namespace ropescope
