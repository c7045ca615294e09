#include "io/safetensors.h"

#include <cstring>

#include "core/thrown.h"
#include "io/files.h"

namespace mara::io {
namespace {

/// A file with this header and so many bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  const uint64_t length = header.size();
  std::string out(sizeof length, '\0');
  std::memcpy(out.data(), &length, sizeof length);
  return out + header + std::string(data_bytes, '\1');
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

const std::string kGood = entry("a", "F32", "[2,3]", "[0,24]");

class Safetensors : public testing::Test {
 protected:
  std::string message(const std::string& content) {
    write_file(path_, content);
    return message_of<Error>([&] { SafetensorsReader{path_}; });
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "w.safetensors";
};

TEST_F(Safetensors, WrittenByTheRules) {
  const std::vector<float> f(6, 1.5f), g(1, 2);
  const std::vector<bf16> b(3, bf16(3));
  const std::vector<double> d(2, 4);
  {
    SafetensorsWriter file(
        path_,
        {{"b", "BF16", {3}}, {"z", "F32", {2, 3}}, {"a", "F32", {}}, {"d", "F64", {2, 1}}, {"none", "F32", {0, 7}}},
        {{"format", "pt"}, {"text", "\"quoted\"\n\xc3\xa9"}});
    file.write("d", std::as_bytes(std::span(d)));
    file.write("b", std::as_bytes(std::span(b)));
    file.write("none", {});
    file.write("z", std::as_bytes(std::span(f)));
    file.write("a", std::as_bytes(std::span(g)));
  }
  const std::string content = read_file(path_);
  uint64_t length = 0;
  std::memcpy(&length, content.data(), sizeof length);
  EXPECT_EQ((8 + length) % 64, 0u);
  const std::string header = content.substr(8, length);
  EXPECT_EQ(header.substr(0, header.find_last_not_of(' ') + 1),
            "{\"__metadata__\":{\"format\":\"pt\",\"text\":\"\\\"quoted\\\"\\n\xc3\xa9\"}," +
                entry("d", "F64", "[2,1]", "[0,16]") + "," + entry("a", "F32", "[]", "[16,20]") + "," +
                entry("none", "F32", "[0,7]", "[20,20]") + "," + entry("z", "F32", "[2,3]", "[20,44]") + "," +
                entry("b", "BF16", "[3]", "[44,50]") + "}");

  const SafetensorsReader file(path_);
  ASSERT_EQ(file.tensors().size(), 5u);
  EXPECT_EQ(file.metadata().at("text"), "\"quoted\"\n\xc3\xa9");
  EXPECT_EQ(file.find("absent"), nullptr);
  const SafeTensor& z = *file.find("z");
  EXPECT_EQ(z.dtype, "F32");
  EXPECT_EQ(z.shape, (Shape{2, 3}));
  std::vector<float> read(6);
  file.read(z, 0, std::as_writable_bytes(std::span(read)));
  EXPECT_EQ(read, f);
  float last = 0;
  file.read(z, 20, std::as_writable_bytes(std::span(&last, 1)));
  EXPECT_EQ(last, 1.5f);
}

TEST_F(Safetensors, NamesMustDiffer) {
  EXPECT_NE(message_of<Error>([&] {
              SafetensorsWriter(path_, {{"a", "F32", {1}}, {"a", "BF16", {1}}}, {});
            }).find("'a': names must differ"),
            std::string::npos);
}

TEST_F(Safetensors, WritesNothingItWouldNotRead) {
  const auto said = [&](const std::string& name, const SafeMetadata& metadata) {
    std::filesystem::remove(path_);
    return message_of<Error>([&] {
      SafetensorsWriter(path_, {{name, "U8", {0}}}, metadata);
      SafetensorsReader{path_};
    });
  };
  EXPECT_EQ(said("a\xc3\xa9" + std::string(997, 'b'), {{"a\n", "b\t\x1b"}}), "nothing was thrown");  // the control
  for (const std::string& name : {std::string("a\xff"), std::string("a\n"), std::string("a\xc2\x85"),
                                  std::string("a\0b", 3), std::string(1001, 'a')}) {
    EXPECT_NE(said(name, {}).find("names of at most 1000 bytes, in UTF-8"), std::string::npos) << name;
  }
  EXPECT_NE(said("a", {{"recipe", "a\xff"}}).find("w.safetensors: metadata, 'recipe': UTF-8"), std::string::npos);
  EXPECT_NE(said("a", {{"k\xff", "a"}}).find("metadata, 'k\\xff': UTF-8"), std::string::npos);
  SafeMetadata many;
  for (int i = 0; i < 10'001; ++i) many[std::to_string(i)];
  EXPECT_NE(said("a", many).find("at most 10000 texts fit, there are 10001"), std::string::npos);
  many.erase("0");
  EXPECT_EQ(said("a", many), "nothing was thrown");
}

TEST_F(Safetensors, GoodFilesOfOthers) {
  const struct {
    std::string header;
    size_t bytes;
  } cases[] = {
      {"{}", 0},
      {"{" + kGood + "}", 24},
      {"{ \n\"__metadata__\" : {\"a\":\"b\", \"\":\"\"},\t" + kGood + "}   ", 24},
      {"{" + kGood + "," + entry("b", "F4", "[4]", "[24,26]") + "}", 26},
      {"{" + entry("b", "U8", "[1]", "[24,25]") + "," + kGood + "}", 25},       // in any order
      {"{" + kGood + "," + entry("b", "U8", "[0]", "[24,24]") + "}", 24},       // empty
      {"{\"a\":{\"data_offsets\":[0,1],\"shape\":[],\"dtype\":\"BOOL\"}}", 1},  // a scalar
      {"{" + entry("\\u00e9\xc3\xa9 /", "C64", "[1,1,1,1,1]", "[0,8]") + "}", 8},
  };
  for (const auto& c : cases) EXPECT_EQ(message(file_of(c.header, c.bytes)), "nothing was thrown") << c.header;
}

TEST_F(Safetensors, HostileFiles) {
  const auto one = [](const std::string& inside) { return "{\"a\":{" + inside + "}}"; };
  const std::string dtype = "\"dtype\":\"F32\"", shape = "\"shape\":[2,3]", offsets = "\"data_offsets\":[0,24]";
  const std::string fields = dtype + "," + shape + "," + offsets;
  EXPECT_EQ(message(file_of(one(fields), 24)), "nothing was thrown");  // the control
  const struct {
    std::string header, says;
    size_t bytes = 24;
  } cases[] = {
      {"", "must begin with {"},
      {" {" + kGood + "}", "must begin with {"},
      {"[]", "must begin with {"},
      {"{" + kGood, "JSON is required"},
      {"{" + kGood + "}x", "JSON is required"},
      {"{" + kGood + "},{}", "JSON is required"},
      {"{" + kGood + ",}", "JSON is required"},
      {"{" + kGood + "}" + std::string(1, '\0'), "JSON is required"},
      {"{" + entry("\xff", "F32", "[2,3]", "[0,24]") + "}", "JSON is required"},
      {"{" + entry("\xc0\x80", "F32", "[2,3]", "[0,24]") + "}", "JSON is required"},
      {"{" + entry("\\ud800", "F32", "[2,3]", "[0,24]") + "}", "JSON is required"},
      {"{" + kGood + "," + kGood + "}", "'a': the key stands there twice"},
      {"{" + kGood + "," + entry("\\u0061", "F32", "[0]", "[24,24]") + "}", "'a': the key stands there twice"},
      {one(fields + "," + dtype), "the key dtype stands there twice"},
      {one(fields + "," + shape), "the key shape stands there twice"},
      {one(fields + "," + offsets), "the key data_offsets stands there twice"},
      {"{\"__metadata__\":{\"x\":\"\",\"x\":\"\"}," + kGood + "}", "'x' stands there twice"},
      {"{\"__metadata__\":{},\"__metadata__\":{}," + kGood + "}", "'__metadata__': the key stands there twice"},
      {"{\"__metadata__\":{\"x\":1}," + kGood + "}", "a number stands where none may"},
      {"{\"__metadata__\":{\"x\":{}}," + kGood + "}", "an object stands where none may"},
      {"{\"__metadata__\":\"x\"," + kGood + "}", "'x' stands where none may"},
      {"{" + entry("a\\u001b[1m", "F32", "[2,3]", "[0,24]") + "}", "'a\\x1b[1m': names of at most 1000 bytes"},
      {"{" +
           entry("a\xc2\x9b"
                 "1m",
                 "F32", "[2,3]", "[0,24]") +
           "}",
       "'a\\xc2\\x9b1m': names of at most 1000 bytes"},
      {"{" + entry(std::string(1001, 'a'), "F32", "[2,3]", "[0,24]") + "}", "aaa...': names of at most 1000 bytes"},
      {one(dtype + "," + shape), "one is missing"},
      {one(dtype + "," + offsets), "one is missing"},
      {one(shape + "," + offsets), "one is missing"},
      {one(fields + ",\"strides\":[1]"), "not 'strides'"},
      {"{\"a\":[" + std::string(1000, '[') + std::string(1000, ']') + "]}", "a list stands where none may"},
      {std::string("{\"a\":") + "{\"a\":{}}}", "not 'a'"},
      {one(dtype + ",\"shape\":[[2]]," + offsets), "a list stands where none may"},
      {one(dtype + ",\"shape\":[\"2\"]," + offsets), "'2' stands where none may"},
      {one(dtype + ",\"shape\":[{}]," + offsets), "an object stands where none may"},
      {one(dtype + ",\"shape\":null," + offsets), "null stands where none may"},
      {one(dtype + ",\"shape\":[2,true]," + offsets), "true or false stands where none may"},
      {one(dtype + ",\"shape\":[-6,-1]," + offsets), "a negative number stands where none may"},
      {one(dtype + ",\"shape\":[2.0,3]," + offsets), "a number that is not whole"},
      {one(dtype + ",\"shape\":[2e0,3]," + offsets), "a number that is not whole"},
      {one(dtype + ",\"shape\":[18446744073709551616]," + offsets), "too large"},
      {one(dtype + ",\"shape\":[18446744073709551615]," + offsets), "too large"},
      {one(dtype + ",\"shape\":[1e99999]," + offsets), "JSON is required"},
      {one(dtype + ",\"shape\":[1,1,1,1,2,3]," + offsets), "at most 5 axes"},
      {one(dtype + ",\"shape\":[4611686018427387904,4]," + offsets), "takes too many bytes"},
      {one(dtype + ",\"shape\":[2,4]," + offsets), "takes 32 bytes, data_offsets are 0 and 24"},
      {one("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), "or part of one", 2},
      {one("\"dtype\":\"f32\"," + shape + "," + offsets), "dtype 'f32' is unknown"},
      {one("\"dtype\":32," + shape + "," + offsets), "a number stands where none may"},
      {one(dtype + "," + shape + ",\"data_offsets\":[24]"), "there are fewer"},
      {one(dtype + "," + shape + ",\"data_offsets\":[0,24,24]"), "there are more"},
      {one(dtype + "," + shape + ",\"data_offsets\":[24,0]"), "data_offsets are 24 and 0"},
      {one(dtype + "," + shape + ",\"data_offsets\":[1,25]"),
       "begins at byte 1 of the data, the tensor before it ends at 0", 25},
      {"{" + kGood + "," + entry("b", "U8", "[1]", "[25,26]") + "}", "'b': begins at byte 25", 26},
      {"{" + kGood + "," + entry("b", "U8", "[1]", "[23,24]") + "}", "'b': begins at byte 23", 24},
      {"{" + kGood + "," + entry("b", "F32", "[2,3]", "[0,24]") + "}", "begins at byte 0 of the data"},
      {"{" + kGood + "}", "something was appended: 24 bytes", 25},
      {"{" + kGood + "}", "cut short: 24 bytes", 23},
      {"{}", "something was appended", 1},
  };
  for (const auto& c : cases) {
    const std::string said = message(file_of(c.header, c.bytes));
    EXPECT_NE(said.find(c.says), std::string::npos) << c.header.substr(0, 200) << "\n" << said;
    EXPECT_EQ(said.find(path_.string()), 0u) << said;
  }
}

TEST_F(Safetensors, LengthsOfTheHeader) {
  const std::string good = file_of("{" + kGood + "}", 24);
  EXPECT_EQ(message(good), "nothing was thrown");
  for (size_t size = 0; size < good.size(); ++size) {
    EXPECT_NE(message(good.substr(0, size)), "nothing was thrown") << size;
  }
  std::string huge = good;
  huge[7] = '\x7f';
  EXPECT_NE(message(huge).find("its first 8 bytes say that a header of 91513144428168"), std::string::npos)
      << message(huge);
  EXPECT_NE(message_of<Error>([&] { SafetensorsReader{folder_ / "absent"}; }).find("No such file"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { SafetensorsReader{folder_.path()}; }).find("this is a folder"), std::string::npos);

  const auto padded = [](int64_t length) {
    std::string header = "{" + kGood + "}";
    header.resize(static_cast<size_t>(length), ' ');
    return file_of(header, 24);
  };
  EXPECT_EQ(message(padded(kLargestHeader)), "nothing was thrown");
  EXPECT_NE(message(padded(kLargestHeader + 1)).find("at most 4000000 bytes"), std::string::npos);
}

// Every byte of a header flipped: an error, or another valid header; never anything else.
TEST_F(Safetensors, FlippedBits) {
  const std::string header =
      "{\"__metadata__\":{\"format\":\"pt\"}," + kGood + "," + entry("b", "U8", "[1]", "[24,25]") + "}";
  int refused = 0, read = 0;
  for (size_t at = 0; at < header.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = header;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      try {
        parse_safetensors(flipped, 25, "flipped");
        ++read;
      } catch (const Error&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(read, 20);  // names and texts have no checksum
}

TEST_F(Safetensors, MessagesStayShort) {
  const std::string name(100'000, 'x');
  const std::string said = message(file_of("{" + entry(name + "\x1b", "F32", "[2,3]", "[0,24]") + "}", 24));
  EXPECT_LT(said.size(), 500u);
  const std::string twice = "{" + entry(name, "F32", "[2,4]", "[0,24]") + "}";
  EXPECT_LT(message(file_of(twice, 24)).size(), 500u);
}

}  // namespace
}  // namespace mara::io
