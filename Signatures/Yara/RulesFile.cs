using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara.Language;
using Vmsweep.Signatures.Yara.Routing;

namespace Vmsweep.Signatures.Yara;

/// <summary>Compiled rules as one stream, from the supervisor that compiles to the workers that scan. Little-endian, lengths before bytes.</summary>
internal static class RulesFile
{
    private const int MostBytes = int.MaxValue - 64;

    private static ReadOnlySpan<byte> Magic => "vmsweep rules 2\n"u8;

    public static void Write(YaraRules rules, Stream stream)
    {
        stream.Write(Magic);
        Put(stream, rules.Facts.Version);
        Put(stream, rules.Facts.Bundle);
        Put(stream, rules.Facts.Rules);
        Put(stream, rules.Sets);
        Put(stream, rules.Wholes);

        Put(stream, Array.ConvertAll(rules.SetOfRule, s => (long)s));
        foreach (NeedCode need in rules.Prefilter.Needs)
        {
            Put(stream, need.Code);
        }

        Put(stream, rules.Prefilter.Literals.Count);
        for (int i = 0; i < rules.Prefilter.Literals.Count; i++)
        {
            Literal literal = rules.Prefilter.Literals[i];
            Put(stream, literal.CoreStart);
            Put(stream, literal.CoreLength);
            Put(stream, literal.Bytes);
            Put(stream, literal.Mask);
        }
    }

    public static YaraRules Read(Stream stream, YaraOptions options)
    {
        try
        {
            byte[] magic = new byte[Magic.Length];
            stream.ReadExactly(magic);
            if (!Magic.SequenceEqual(magic))
            {
                throw new YaraException("not compiled rules of this version");
            }

            string version = Encoding.UTF8.GetString(Bytes(stream));
            string bundle = Encoding.UTF8.GetString(Bytes(stream));
            int count = Number(stream);
            var reading = new Lock();
            RuleSet[] sets = ReadSets(stream, reading);
            RuleSet[] wholes = ReadSets(stream, reading);

            int[] setOfRule = Array.ConvertAll(Numbers(stream), s => (int)s);
            NeedCode[] needs = Array.ConvertAll(setOfRule, _ => new NeedCode(Numbers(stream)));
            var literals = new Literal[Number(stream)];
            for (int i = 0; i < literals.Length; i++)
            {
                int coreStart = Number(stream);
                int coreLength = Number(stream);
                literals[i] = new Literal(Bytes(stream), Bytes(stream), coreStart, coreLength);
            }

            return new YaraRules(new EngineFacts(YaraRules.EngineName, version, count, bundle), sets, wholes, setOfRule, new Prefilter(literals, needs), options) { Source = stream };
        }
        catch (Exception e) when (e is not YaraException)
        {
            throw new YaraException(e is EndOfStreamException ? "compiled rules end too early" : "compiled rules cannot be loaded", e);
        }
    }

    /// <summary>The rules themselves are left where they are until they are needed.</summary>
    private static RuleSet[] ReadSets(Stream stream, Lock reading)
    {
        List<RuleSet> sets = [];
        for (int left = Number(stream); left > 0; left--)
        {
            int externals = Number(stream);
            int[] ordinals = Array.ConvertAll(Numbers(stream), o => (int)o);
            int length = Length(stream);
            long at = stream.Position;
            sets.Add(new RuleSet(new Lazy<NativeRules>(() => Load(stream, reading, at, length))) { UsedExternals = externals, Ordinals = ordinals });
            stream.Position = at + length;
        }

        return [.. sets];
    }

    private static unsafe NativeRules Load(Stream stream, Lock reading, long at, int length)
    {
        // Outside of the heap: some megabytes for a moment would cost a collection of all of it.
        byte* bytes = (byte*)NativeMemory.Alloc((nuint)length);
        try
        {
            var part = new Span<byte>(bytes, length);
            lock (reading)
            {
                stream.Position = at;
                stream.ReadExactly(part);
            }

            return NativeRules.Load(part);
        }
        catch (EndOfStreamException e)
        {
            throw new YaraException("compiled rules end too early", e);
        }
        finally
        {
            NativeMemory.Free(bytes);
        }
    }

    private static void Put(Stream stream, RuleSet[] sets)
    {
        Put(stream, sets.Length);
        foreach (RuleSet set in sets)
        {
            Put(stream, set.UsedExternals);
            Put(stream, Array.ConvertAll(set.Ordinals, o => (long)o));
            Put(stream, set.Rules.Save());
        }
    }

    private static void Put(Stream stream, int number)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, number);
        stream.Write(bytes);
    }

    private static void Put(Stream stream, string text) => Put(stream, Encoding.UTF8.GetBytes(text));

    private static void Put(Stream stream, byte[] bytes)
    {
        Put(stream, bytes.Length);
        stream.Write(bytes);
    }

    private static void Put(Stream stream, long[] numbers)
    {
        byte[] bytes = new byte[numbers.Length * 8];
        for (int i = 0; i < numbers.Length; i++)
        {
            BinaryPrimitives.WriteInt64LittleEndian(bytes.AsSpan(i * 8), numbers[i]);
        }

        Put(stream, bytes);
    }

    private static int Number(Stream stream)
    {
        Span<byte> bytes = stackalloc byte[4];
        stream.ReadExactly(bytes);
        return BinaryPrimitives.ReadInt32LittleEndian(bytes);
    }

    private static int Length(Stream stream) =>
        Number(stream) is var length and >= 0 and <= MostBytes ? length : throw new YaraException("compiled rules with an impossible length");

    private static byte[] Bytes(Stream stream)
    {
        byte[] bytes = new byte[Length(stream)];
        stream.ReadExactly(bytes);
        return bytes;
    }

    private static long[] Numbers(Stream stream)
    {
        byte[] bytes = Bytes(stream);
        long[] numbers = new long[bytes.Length / 8];
        for (int i = 0; i < numbers.Length; i++)
        {
            numbers[i] = BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(i * 8));
        }

        return numbers;
    }
}
