using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Vmsweep.Appliance.Worker;

namespace Vmsweep.Appliance.Cli;

/// <summary>A listing as it comes, entry by entry: of millions of files none is kept. Nothing is opened before the first.</summary>
/// <param name="file">Where it goes; null: standard output.</param>
/// <param name="format"><c>text</c>, <c>tsv</c> or <c>json</c>.</param>
/// <param name="withHashes">A column of hashes.</param>
internal sealed class ListingOutput(FileInfo? file, string format, bool withHashes) : IDisposable
{
    private readonly bool _isTerminal = Outputs.IsTerminal(file);
    private Stream? _bytes;
    private TextWriter? _text;
    private Utf8JsonWriter? _json;

    public void Add(ListEntry entry)
    {
        Open();
        switch (format)
        {
            case "json":
                JsonSerializer.Serialize(_json!, entry, ListingJson.Default.ListEntry);
                break;
            case "tsv":
                // To a file or pipe the contract's form to the letter; on a terminal nothing may act.
                _text!.Write(_isTerminal ? Printable.Of(entry.Path) : entry.Path);
                _text.Write('\t');
                _text.Write(entry.SizeBytes);
                if (withHashes)
                {
                    _text.Write('\t');
                    _text.Write(entry.Sha256);
                }

                _text.WriteLine();
                break;
            default:
                string kind = entry.Kind switch { "folder" => "d", "link" => "l", "device" => "c", _ => "-" };
                string size = entry.SizeBytes.ToString(CultureInfo.InvariantCulture).PadLeft(14);
                _text!.WriteLine(withHashes ? $"{kind} {size}  {entry.Sha256,-64}  {Printable.Of(entry.Path)}" : $"{kind} {size}  {Printable.Of(entry.Path)}");
                break;
        }
    }

    /// <summary>Everything was added. An empty listing is one too.</summary>
    public void Complete()
    {
        Open();
        if (_json is not null)
        {
            _json.WriteEndArray();
            _json.WriteString("schema", "vmsweep.listing/1");
            _json.WriteEndObject();
            _json.Flush();
            _bytes!.Write("\n"u8);
        }

        _text?.Flush();
    }

    /// <summary>What was added until then is written, also where the listing broke off.</summary>
    public void Dispose()
    {
        _json?.Dispose();
        _text?.Dispose();
        _bytes?.Dispose();
    }

    private void Open()
    {
        if (_bytes is not null || _text is not null)
        {
            return;
        }

        if (format != "json")
        {
            _text = Outputs.OpenText(file);
            return;
        }

        _bytes = Outputs.OpenBytes(file);
        _json = new Utf8JsonWriter(_bytes, new JsonWriterOptions { Indented = true });
        _json.WriteStartObject();
        _json.WriteStartArray("entries");
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(ListEntry))]
internal sealed partial class ListingJson : JsonSerializerContext;
