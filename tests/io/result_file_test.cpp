#include "ropescope/io/result_file.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"
#include "ropescope/io/hdf5_support.h"
#include "ropescope/io/result_copy.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

std::string slurp(const std::string& path) { return read_file(path); }

/// A clock that stands still while a test runs.
class FixedClock {
 public:
  FixedClock() { setenv("SOURCE_DATE_EPOCH", "1700000000", 1); }
  ~FixedClock() { unsetenv("SOURCE_DATE_EPOCH"); }
};

TEST(ResultFile, EveryTypeComesBackAsItWas) {
  const TemporaryFolder folder;
  const std::string path = folder.path("types.h5");
  const at::Tensor doubles = at::randn({3, 4}, at::kDouble);
  ResultWriter writer(path, {}, false);
  writer.write("/a/double", doubles);
  writer.write("/a/float_transposed", doubles.to(at::kFloat).t());
  writer.write("/a/half", doubles.to(at::kHalf));
  writer.write("/a/bfloat16", doubles.to(at::kBFloat16));
  writer.write("/a/long", at::arange(5, at::kLong));
  writer.write("/a/int", at::arange(5, at::kInt));
  writer.write("/a/byte", at::arange(5, at::kByte));
  writer.write("/a/bool", at::arange(1, -1, -1, at::kLong).to(at::kBool));
  writer.write("/a/scalar", at::ones({}, at::kDouble));
  writer.write("/a/none", at::zeros({0, 7}));
  writer.write("/a/b/text", std::vector<std::string>{"", "naïve θ", "two\nlines"});
  writer.write("/a/b/no_text", std::vector<std::string>{});
  const uint64_t bytes = writer.commit();
  EXPECT_EQ(bytes, fs::file_size(path));

  const ResultReader reader(path);
  EXPECT_TRUE(at::equal(reader.read("/a/double"), doubles));
  EXPECT_TRUE(at::equal(reader.read("/a/float_transposed"), doubles.to(at::kFloat).t()));
  EXPECT_TRUE(at::equal(reader.read("/a/half"), doubles.to(at::kHalf).to(at::kFloat)));
  EXPECT_TRUE(at::equal(reader.read("/a/bfloat16"), doubles.to(at::kBFloat16).to(at::kFloat)));
  EXPECT_TRUE(at::equal(reader.read("/a/long"), at::arange(5, at::kLong)));
  EXPECT_EQ(reader.read("/a/int").scalar_type(), at::kInt);
  EXPECT_EQ(reader.read("/a/byte").scalar_type(), at::kByte);
  EXPECT_TRUE(at::equal(reader.read("/a/bool"), at::arange(1, -1, -1, at::kByte)));
  EXPECT_EQ(reader.read("/a/scalar").dim(), 0);
  EXPECT_EQ(reader.read("/a/none").sizes(), at::IntArrayRef({0, 7}));
  EXPECT_EQ(reader.read_strings("/a/b/text"), (std::vector<std::string>{"", "naïve θ", "two\nlines"}));
  EXPECT_TRUE(reader.read_strings("/a/b/no_text").empty());
  EXPECT_TRUE(reader.has("/a/b"));
  EXPECT_FALSE(reader.has("/a/c/d"));
  const std::vector<std::string> names = reader.datasets();
  EXPECT_EQ(names.size(), 15u);  // 12 here, 3 of the provenance
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST(ResultFile, LargeDatasetsAreCompressedAndExact) {
  const TemporaryFolder folder;
  const std::string path = folder.path("large.h5");
  const at::Tensor values = at::arange(3 * 500 * 701, at::kDouble).view({3, 500, 701});  // awkward extents
  ResultWriter writer(path, {}, false);
  const at::Tensor noise = at::randn({300, 1001});
  writer.write("/values", values);
  writer.write("/noise", noise);  // does not shrink: stored as it is
  EXPECT_LT(writer.commit(), values.nbytes() / 2 + noise.nbytes());
  EXPECT_TRUE(at::equal(ResultReader(path).read("/values"), values));
  EXPECT_TRUE(at::equal(ResultReader(path).read("/noise"), noise));
}

TEST(ResultFile, PartsFillADatasetOneByOne) {
  const TemporaryFolder folder;
  const std::string path = folder.path("parts.h5");
  const at::Tensor parts = at::randn({3, 2, 5});
  {
    ResultWriter writer(path, {}, false);
    writer.create("/rows", {4, 2, 5});
    writer.write_part("/rows", 3, parts[2]);
    writer.write_part("/rows", 0, parts[0]);
    writer.write_part("/rows", 2, parts[1].to(at::kDouble));
    EXPECT_THROW(writer.write_part("/rows", 4, parts[0]), InternalError);
    EXPECT_THROW(writer.write_part("/rows", 1, parts), InternalError);
    EXPECT_THROW(writer.write_part("/others", 0, parts[0]), InternalError);
    writer.commit();
  }
  const at::Tensor rows = ResultReader(path).read("/rows");
  EXPECT_TRUE(at::equal(rows[0], parts[0]));
  EXPECT_TRUE(at::equal(rows[1], at::zeros({2, 5})));  // never written
  EXPECT_TRUE(at::equal(rows[2], parts[1]));
  EXPECT_TRUE(at::equal(rows[3], parts[2]));
}

TEST(ResultFile, PartsThatAreMostlyZeroAreStoredSmall) {
  const TemporaryFolder folder;
  const std::string path = folder.path("parts.h5");
  const at::Tensor parts = at::randn({3, 2, 40, 900});
  parts.narrow(3, 300, 600).zero_();  // causal rows: nothing behind the query
  {
    ResultWriter writer(path, {}, false);
    writer.create("/rows", {3, 2, 40, 900});
    EXPECT_THROW(writer.create("/rows", {3}), InternalError);
    for (const int64_t i : {2, 0, 1}) writer.write_part("/rows", i, parts[i]);
    writer.create("/never", {2, 3});
    EXPECT_LT(writer.commit(), parts.nbytes() / 2);
  }
  EXPECT_TRUE(at::equal(ResultReader(path).read("/rows"), parts));
  EXPECT_TRUE(at::equal(ResultReader(path).read("/never"), at::zeros({2, 3})));
}

TEST(ResultFile, ProvenanceSaysHowItWasMade) {
  const FixedClock clock;
  const TemporaryFolder folder;
  std::ofstream(folder.path("input.txt")) << "abc";
  Provenance provenance;
  provenance.command = "ropescope test --text 'a b'";
  provenance.seed = ~uint64_t{0};
  provenance.add_input(folder.path("input.txt"));
  ResultWriter writer(folder.path("r.h5"), provenance, false);
  writer.attribute("/decay", "sign", int64_t{-1});
  writer.attribute("/decay", "sign", int64_t{1});  // the last word counts
  writer.attribute("/decay", "scale", 0.5);
  writer.commit();

  const ResultReader reader(folder.path("r.h5"));
  EXPECT_EQ(std::get<std::string>(reader.attribute("/", "format")), "ropescope-result");
  EXPECT_EQ(std::get<int64_t>(reader.attribute("/", "format_version")), 1);
  EXPECT_EQ(std::get<std::string>(reader.attribute("/", "command")), provenance.command);
  EXPECT_EQ(std::get<std::string>(reader.attribute("/", "created_utc")), "2023-11-14T22:13:20Z");
  EXPECT_EQ(std::get<std::string>(reader.attribute("/", "seed")), "18446744073709551615");
  EXPECT_EQ(std::get<int64_t>(reader.attribute("/decay", "sign")), 1);
  EXPECT_EQ(std::get<double>(reader.attribute("/decay", "scale")), 0.5);
  EXPECT_EQ(reader.read_strings("/provenance/inputs/name"), std::vector<std::string>{"input.txt"});
  EXPECT_EQ(reader.read("/provenance/inputs/bytes").item<int64_t>(), 3);
  EXPECT_EQ(reader.read_strings("/provenance/inputs/sha256").front(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  for (const char* name : {"ropescope_version", "libtorch_version", "device", "dtype", "inputs"}) {
    EXPECT_TRUE(reader.has_attribute("/", name)) << name;
  }
  EXPECT_FALSE(reader.has_attribute("/decay", "nothing"));
  EXPECT_THROW(reader.attribute("/decay", "nothing"), InputError);
}

TEST(ResultFile, TheSameRunGivesTheSameBytes) {
  const FixedClock clock;
  const TemporaryFolder folder;
  const at::Tensor values = at::randn({200, 200}, at::kDouble);
  for (const char* name : {"one.h5", "two.h5"}) {
    if (name == std::string("two.h5"))
      std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // a new second
    ResultWriter writer(folder.path(name), {}, false);
    writer.write("/x/large", values);
    writer.write("/x/small", at::arange(3));
    writer.write("/x/text", std::vector<std::string>{"a", "bc"});
    writer.attribute("/x", "note", std::string("n"));
    writer.commit();
  }
  EXPECT_EQ(slurp(folder.path("one.h5")), slurp(folder.path("two.h5")));
}

TEST(ResultFile, AppearsOnlyWhenComplete) {
  const TemporaryFolder folder;
  const std::string path = folder.path("deep/er/r.h5");
  {
    ResultWriter writer(path, {}, false);
    writer.write("/x", at::arange(3));
    EXPECT_FALSE(fs::exists(path));
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_FALSE(fs::exists(folder.path("deep")));  // neither a temporary file nor a folder stays
  ResultWriter(path, {}, false).commit();
  EXPECT_THROW(ResultWriter(path, {}, false), UsageError);
  ResultWriter(path, {}, true).commit();
}

TEST(ResultFile, MistakesOfOursAreInternalErrors) {
  const TemporaryFolder folder;
  ResultWriter writer(folder.path("r.h5"), {}, false);
  writer.write("/x", at::arange(3));
  EXPECT_THROW(writer.write("/x", at::arange(3)), InternalError);
  EXPECT_THROW(writer.write("x", at::arange(3)), InternalError);
  EXPECT_THROW(writer.write("/y/", at::arange(3)), InternalError);
  EXPECT_THROW(writer.write("/y", at::Tensor()), InternalError);
  EXPECT_THROW(writer.write("/y", at::zeros({1}, at::kComplexFloat)), InternalError);
}

TEST(ResultFile, FullDiskIsAnEnvironmentErrorAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string path = folder.path("r.h5");
  const pid_t child = fork();
  if (child == 0) {  // the limit on file sizes stands in for a full disk; it would outlive the test here
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{200'000, 200'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    int code = 99;
    try {
      ResultWriter writer(path, {}, false);
      writer.write("/x", at::randn({1000, 1000}, at::kDouble));
      writer.commit();
    } catch (const EnvironmentError& error) {
      code = std::string(error.what()).find(path) != std::string::npos ? 4 : 98;
    } catch (...) {
      code = 97;
    }
    std::exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 4);
  EXPECT_TRUE(fs::is_empty(fs::path(path).parent_path()));
}

TEST(ResultFile, FilesThatAreNotHdf5AreRefusedInWords) {
  const TemporaryFolder folder;
  EXPECT_THROW(ResultReader(folder.path("missing.h5")), InputError);
  EXPECT_THROW(ResultReader(folder.path("")), InputError);
  std::ofstream(folder.path("text.h5")) << "not an HDF5 file";
  std::ofstream(folder.path("empty.h5"));
  EXPECT_THROW(ResultReader(folder.path("text.h5")), InputError);
  EXPECT_THROW(ResultReader(folder.path("empty.h5")), InputError);
}

TEST(ResultFile, WrongKindsOfObjectsAreRefused) {
  const TemporaryFolder folder;
  ResultWriter writer(folder.path("r.h5"), {}, false);
  writer.write("/g/number", at::arange(3));
  writer.write("/g/text", std::vector<std::string>{"a"});
  writer.commit();
  const ResultReader reader(folder.path("r.h5"));
  EXPECT_THROW(reader.read("/g"), InputError);
  EXPECT_THROW(reader.read("/nothing"), InputError);
  EXPECT_THROW(reader.read("/g/number/below"), InputError);
  EXPECT_THROW(reader.read("/g/text"), InputError);
  EXPECT_THROW(reader.read_strings("/g/number"), InputError);
  EXPECT_THROW(reader.read(""), InputError);
}

/// Files as other programs, or somebody with bad intentions, would write them.
class ForeignFile : public ::testing::Test {
 protected:
  ForeignFile() : path_(folder_.path("foreign.h5")) {
    file_ = hdf5::Handle(H5Fcreate(path_.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), H5Fclose);
  }
  /// A dataset with a shape and, if there are any, values.
  void add(const char* name, hid_t type, std::vector<hsize_t> shape, bool chunked,
           const void* values = nullptr, hid_t memory = -1) {
    const hdf5::Handle space(H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
                             H5Sclose);
    const hdf5::Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
    if (chunked) {
      const std::vector<hsize_t> chunk(shape.size(), 4);
      H5Pset_chunk(properties.get(), static_cast<int>(chunk.size()), chunk.data());
    }
    const hdf5::Handle dataset(
        H5Dcreate2(file_.get(), name, type, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
        H5Dclose);
    if (values != nullptr) H5Dwrite(dataset.get(), memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
  }
  ResultReader open() {
    file_.reset();
    return ResultReader(path_);
  }

  TemporaryFolder folder_;
  std::string path_;
  hdf5::Handle file_;
};

TEST_F(ForeignFile, AbsurdShapesAreRefusedBeforeMemoryIsTaken) {
  add("contiguous", H5T_IEEE_F32LE, {1u << 20, 1u << 12}, false);  // 16 GiB, never written
  add("chunked", H5T_IEEE_F64LE, {1u << 20, 1u << 20}, true);      // 8 TiB, never written
  add("overflow", H5T_STD_I8LE, {1u << 31, 1u << 31, 4}, true);
  add("all_fill", H5T_STD_I32LE, {100}, true);
  const ResultReader reader = open();
  EXPECT_THROW(reader.read("/contiguous"), InputError);
  EXPECT_THROW(reader.read("/chunked"), InputError);
  EXPECT_THROW(reader.read("/overflow"), InputError);
  EXPECT_TRUE(at::equal(reader.read("/all_fill"), at::zeros({100}, at::kInt)));
}

TEST_F(ForeignFile, NumbersThatDoNotFitAreRefused) {
  const uint64_t values[2] = {1, ~uint64_t{0}};
  add("big", H5T_STD_U64BE, {2}, false, values, H5T_NATIVE_UINT64);
  add("small", H5T_STD_U64BE, {1}, false, values, H5T_NATIVE_UINT64);
  const ResultReader reader = open();
  EXPECT_THROW(reader.read("/big"), InputError);
  EXPECT_EQ(reader.read("/small").item<int64_t>(), 1);
}

TEST_F(ForeignFile, FixedWidthAndSharedStringsAreRead) {
  const hdf5::Handle fixed(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(fixed.get(), 4);
  add("fixed", fixed.get(), {2}, false, "ab\0\0wxyz", fixed.get());
  const hdf5::Handle text = hdf5::string_type();
  const char* strings[2] = {"x", nullptr};
  add("variable", text.get(), {2}, false, strings, text.get());
  const ResultReader reader = open();
  EXPECT_EQ(reader.read_strings("/fixed"), (std::vector<std::string>{"ab", "wxyz"}));
  EXPECT_EQ(reader.read_strings("/variable"), (std::vector<std::string>{"x", ""}));
}

TEST_F(ForeignFile, ReferencesToOtherFilesAreNotFollowed) {
  H5Lcreate_external("/etc/passwd", "/", file_.get(), "outside", H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t extent = 16;
  const hdf5::Handle space(H5Screate_simple(1, &extent, nullptr), H5Sclose);
  const hdf5::Handle properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_external(properties.get(), "/etc/passwd", 0, 16);
  hdf5::Handle(
      H5Dcreate2(file_.get(), "raw", H5T_STD_U8LE, space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT),
      H5Dclose);
  const ResultReader reader = open();
  EXPECT_FALSE(reader.has("/outside"));
  EXPECT_THROW(reader.read("/outside"), InputError);
  EXPECT_THROW(reader.read("/raw"), InputError);
}

TEST_F(ForeignFile, CutFilesAreInputErrors) {
  const std::vector<double> values(5000, 1.5);
  add("values", H5T_IEEE_F64LE, {5000}, true, values.data(), H5T_NATIVE_DOUBLE);
  file_.reset();
  const std::string whole = slurp(path_);
  for (size_t keep = 0; keep < whole.size(); keep += 1 + whole.size() / 60) {
    std::ofstream(folder_.path("cut.h5"), std::ios::binary) << whole.substr(0, keep);
    EXPECT_THROW(ResultReader(folder_.path("cut.h5")).read("/values"), InputError) << keep;
  }
}

// Every byte of the metadata of our own files is under a checksum (or unused): a flipped one is an error in
// words or changes nothing that is read.
TEST(ResultFile, DamageIsNoticed) {
  const TemporaryFolder folder;
  const at::Tensor values = at::arange(40, at::kDouble);
  ResultWriter writer(folder.path("r.h5"), {}, false);
  writer.write("/g/values", values);
  writer.commit();
  const std::string whole = slurp(folder.path("r.h5"));
  int refused = 0;
  for (size_t at = 0; at < whole.size(); at += 17) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    std::ofstream(folder.path("damaged.h5"), std::ios::binary) << damaged;
    try {
      const at::Tensor read = ResultReader(folder.path("damaged.h5")).read("/g/values");
      EXPECT_EQ(read.sizes(), values.sizes()) << at;
    } catch (const InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 10);
}

TEST(ResultFile, AGroupIsCopiedWithItsAttributes) {
  const TemporaryFolder folder;
  const at::Tensor numbers = at::arange(6, at::kDouble).view({2, 3});
  ResultWriter part(folder.path("part.h5"), {}, false);
  part.write("/g/inner/numbers", numbers);
  part.write("/g/words", std::vector<std::string>{"a", "b"});
  part.write("/other", numbers);
  part.write("/gap/numbers", numbers);
  part.attribute("/g", "count", int64_t{3});
  part.attribute("/g/inner/numbers", "unit", std::string("m"));
  part.commit();
  ResultWriter whole(folder.path("whole.h5"), {}, false);
  copy_group(ResultReader(folder.path("part.h5")), "/g", whole);
  whole.commit();
  const ResultReader read(folder.path("whole.h5"));
  EXPECT_TRUE(at::equal(read.read("/g/inner/numbers"), numbers));
  EXPECT_EQ(read.read_strings("/g/words"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(std::get<int64_t>(read.attribute("/g", "count")), 3);
  EXPECT_EQ(std::get<std::string>(read.attribute("/g/inner/numbers", "unit")), "m");
  EXPECT_FALSE(read.has("/other"));
  EXPECT_FALSE(read.has("/gap"));
}

}  // namespace
}  // namespace ropescope
