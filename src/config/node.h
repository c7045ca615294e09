#pragma once
// A parsed document as plain data: what stands between the YAML library and the readers.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mara::config {

struct Node {
  enum class Kind : uint8_t { scalar, list, mapping };

  Kind kind = Kind::scalar;
  std::string where;              // "recipes/x.yaml:8" or "--set a.b=c"; of a mapping's value: the line of its key
  std::string text;               // of a scalar
  bool quoted = false;            // of a scalar: written in quotes or as a block, so text whatever it looks like
  std::vector<std::string> keys;  // of a mapping, one per item
  std::vector<Node> items;

  /// The value of `key`, null where this mapping does not have it.
  const Node* find(std::string_view key) const;
  Node* find(std::string_view key) { return const_cast<Node*>(std::as_const(*this).find(key)); }
};

/// What came, for messages: 'abc', "abc" in quotes, a list, a mapping.
std::string describe(const Node& node);

/// "a.b" from "a" and "b"; "b" at the top.
std::string join_key(const std::string& path, std::string_view key);

/// Throws Error "where: key: message", without a key where it is empty.
[[noreturn]] void fail_at(const std::string& where, const std::string& key, const std::string& message);

/// Where parsed text comes from.
struct Origin {
  std::string name;       // of the file; or the whole --set argument
  bool has_lines = true;  // name every line
  std::string path = "";  // full key of the parsed value
  std::string line(int64_t zero_based) const;
};

/// Reads one YAML value of plain mappings, lists and scalars. Throws Error for anything else.
Node parse_yaml(const std::string& text, const Origin& origin);

}  // namespace mara::config
