using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Containers.Qcow2;
using Vmsweep.DiskReaders.Tests.Volumes.Luks;
using Vmsweep.DiskReaders.Volumes.Luks;
using Vmsweep.Golden;

namespace Vmsweep.DiskReaders.Tests.Containers.Qcow2;

/// <summary>Images that QEMU encrypts, compared with what it reads from them under the same secret.</summary>
public sealed class Qcow2EncryptionTests
{
    private const string Secret = "--object secret,id=s,data=abc";

    private const string Writes = "-c 'write -P 0x11 0 64k' -c 'write -P 0x22 1023k 3k' -c 'write -P 0x33 3M 1M' -c 'write -z 3500k 100k' -c 'write -P 0x44 7M 512' -c 'discard 1M 64k'";

    /// <summary>QEMU's calibration of key derivation fails now and then on a short time.</summary>
    private const string Retry = "retry() { for i in $(seq 40); do \"$@\" 2> /dev/null && return; done; \"$@\"; }\n";

    [Theory]
    [InlineData("compat=1.1", "", "qcow2/v3/luks")]
    [InlineData("cluster_size=512", "", "qcow2/v3/luks")]
    [InlineData("cluster_size=2M", "", "qcow2/v3/luks")]
    [InlineData("extended_l2=on,cluster_size=16k", "", "qcow2/v3/luks")]
    [InlineData("data_file=data.raw", "", "qcow2/v3/luks")]
    [InlineData("compat=1.1", ",encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256", "qcow2/v3/luks")]
    [InlineData("compat=1.1", ",encrypt.cipher-alg=aes-256,encrypt.cipher-mode=xts,encrypt.ivgen-alg=plain", "qcow2/v3/luks")]
    public void Content_under_LUKS_equals_that_of_qemu(string options, string encryption, string format)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            {Retry}
            retry qemu-img create -q {Secret} -f qcow2 -o {options},encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10{encryption} d.qcow2 8M
            qemu-io {Secret} --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=d.qcow2 {Writes} > /dev/null
            qemu-img convert {Secret} --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=d.qcow2 -O raw expected
            """,
            scratch.Folder);
        AssertEqualsExpected(scratch, format);
    }

    [Theory]
    [InlineData("compat=0.10", "qcow2/v2/aes")]
    [InlineData("compat=1.1", "qcow2/v3/aes")]
    [InlineData("cluster_size=512", "qcow2/v3/aes")]
    [InlineData("extended_l2=on,cluster_size=32k", "qcow2/v3/aes")]
    public void Content_under_the_old_AES_method_equals_that_of_qemu(string options, string format)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            qemu-img create -q {Secret} -f qcow2 -o {options},encrypt.format=aes,encrypt.key-secret=s d.qcow2 8M
            qemu-io {Secret} --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=d.qcow2 {Writes} > /dev/null
            qemu-img convert {Secret} --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=d.qcow2 -O raw expected
            """,
            scratch.Folder);
        AssertEqualsExpected(scratch, format);
    }

    [Theory]
    [InlineData("-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "", "encrypt.key-secret=s,", "")]
    [InlineData("", "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "", "backing.encrypt.key-secret=s,")]
    [InlineData("-o encrypt.format=aes,encrypt.key-secret=s", "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "encrypt.key-secret=s,", "backing.encrypt.key-secret=s,")]
    public void Layers_of_a_chain_may_be_encrypted_each_by_itself(string leaf, string root, string leafKey, string rootKey)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            {Retry}
            retry qemu-img create -q {Secret} -f qcow2 {root} base.qcow2 8M
            qemu-io {Secret} --image-opts driver=qcow2,{rootKey.Replace("backing.", "", StringComparison.Ordinal)}file.filename=base.qcow2 {Writes} > /dev/null
            retry qemu-img create -q {Secret} -f qcow2 {leaf} -u -b base.qcow2 -F qcow2 d.qcow2 8M
            qemu-io {Secret} --image-opts driver=qcow2,{leafKey}{rootKey}file.filename=d.qcow2 -c 'write -P 0x55 2M 70k' -c 'write -P 0x66 3200k 3k' > /dev/null
            qemu-img convert {Secret} --image-opts driver=qcow2,{leafKey}{rootKey}file.filename=d.qcow2 -O raw expected
            """,
            scratch.Folder);
        AssertEqualsExpected(scratch, null);
    }

    [Fact]
    public void A_raw_LUKS_file_may_be_the_base()
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            {Retry}
            head -c 4M /dev/urandom > plain
            retry qemu-img convert {Secret} -f raw -O luks -o key-secret=s,iter-time=10 plain base
            qemu-img create -q -f qcow2 -u -b base -F luks d.qcow2 8M
            qemu-io {Secret} --image-opts driver=qcow2,backing.key-secret=s,file.filename=d.qcow2 -c 'write -P 0x55 2M 70k' > /dev/null
            qemu-img convert {Secret} --image-opts driver=qcow2,backing.key-secret=s,file.filename=d.qcow2 -O raw expected
            """,
            scratch.Folder);
        AssertEqualsExpected(scratch, "qcow2/v3");
    }

    [Theory]
    [InlineData("luks,encrypt.iter-time=10", "LUKS1")]
    [InlineData("aes", "AES")]
    public void Without_a_secret_that_fits_the_image_is_encrypted(string format, string named)
    {
        using var scratch = new Scratch();
        Tool.Shell(
            $"""
            {Retry}
            retry qemu-img create -q {Secret} -f qcow2 -o encrypt.key-secret=s,encrypt.format={format} d.qcow2 8M
            qemu-io {Secret} --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=d.qcow2 {Writes} > /dev/null
            """,
            scratch.Folder);
        foreach (string[] secrets in (string[][])[[], ["ab"], ["x", "abcd"]])
        {
            DiskFormatException fault = Assert.Throws<DiskFormatException>(() => Qcow2.InFolder(scratch.Folder, "d.qcow2", _ => { }, secrets));
            Assert.Equal(Fault.Encrypted, fault.Fault);
            Assert.Contains(named, fault.Detail, StringComparison.Ordinal);
            Assert.Contains("--key", fault.Detail, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(1UL << 40, 4096UL, Fault.Truncated)]
    [InlineData(1UL << 15, 1UL << 40, Fault.Truncated)]
    [InlineData(1UL << 63, 4096UL, Fault.Corrupt)]
    [InlineData(1UL << 15, ulong.MaxValue, Fault.Corrupt)]
    [InlineData(1UL << 15, 512UL, Fault.Truncated)]
    [InlineData(1UL << 15, 0UL, Fault.Truncated)]
    [InlineData(0UL, 4096UL, Fault.Corrupt)]
    public void A_pointer_to_a_LUKS_header_that_lies_is_refused(ulong offset, ulong length, Fault fault)
    {
        DiskFormatException e = Assert.Throws<DiskFormatException>(() => Read(WithLuks(offset, length), new ReadContext(new ScanBudget(64 << 20), new GapList())));
        Assert.Equal(fault, e.Fault);
    }

    [Fact]
    public void Damaged_encrypted_images_give_data_or_a_fault()
    {
        byte[] luks = WithLuks();
        byte[] aes = WithAes();
        foreach (byte[] sound in (byte[][])[luks, aes])
        {
            Assert.Equal(LuksWriter.Plain[..(2 * Qcow2Writer.Cluster)], Read(sound, new ReadContext(new ScanBudget(64 << 20), new GapList()))[..(2 * Qcow2Writer.Cluster)]);
        }

        (long, long)[] tables = [(0, 140), (Qcow2Writer.L1At, 64), (Qcow2Writer.L2At, 64)];
        Mutations.Check(luks, (b, c) => Read(b, c), [.. tables, (LuksAt, Luks1Header.Size), (LuksAt + 1024, 1024)]);
        Mutations.Check(aes, (b, c) => Read(b, c), tables);
    }

    private const int LuksAt = Qcow2Writer.DataAt + (3 * Qcow2Writer.Cluster);

    /// <summary>Two encrypted clusters that lie the other way round in the file, and a third of one byte value.</summary>
    private static byte[] Image(Qcow2Writer writer, uint method, Func<int, int, byte[]> encrypt) =>
        Qcow2Writer.U32(writer.Data(1, encrypt(1, 0)).Data(0, encrypt(0, 1)).Data(5, encrypt(5, 2)).Build(), 32, method);

    private static byte[] Cluster(int guest) =>
        guest < 2 ? LuksWriter.Plain[(guest * Qcow2Writer.Cluster)..((guest + 1) * Qcow2Writer.Cluster)] : [.. Enumerable.Repeat((byte)7, Qcow2Writer.Cluster)];

    private static byte[] WithAes()
    {
        byte[] key = new byte[16];
        Encoding.ASCII.GetBytes(LuksWriter.Secret).CopyTo(key, 0);
        return Image(new Qcow2Writer(), 1, (guest, _) => LuksWriter.Encrypt(Cluster(guest), key, guest));
    }

    private static byte[] WithLuks(ulong offset = LuksAt, ulong length = LuksWriter.Luks1DataAt)
    {
        byte[] pointer = new byte[16];
        Qcow2Writer.U64(Qcow2Writer.U64(pointer, 0, offset), 8, length);
        byte[] image = Image(
            new Qcow2Writer().Extension(0x0537_BE77, pointer),
            2,
            (guest, host) => LuksWriter.Encrypt(Cluster(guest), LuksWriter.VolumeKey, (Qcow2Writer.DataAt / 512) + host));
        return [.. image, .. LuksWriter.Luks1()[..LuksWriter.Luks1DataAt]];
    }

    private static byte[] Read(byte[] image, ReadContext context)
    {
        context = context with { Secrets = new UnlockSecrets(["wrong"u8.ToArray(), Encoding.ASCII.GetBytes(LuksWriter.Secret)]) };
        var file = new ImageFile("d", 0, new MemorySource(image));
        using VirtualDisk disk = new Qcow2Format().Open(file, new CheapLuks(context), context);
        byte[] content = new byte[Math.Min(disk.Content.Length, 256 << 10)];
        if (content.Length > 0)
        {
            disk.Content.Locate(0, disk.Content.Length);
        }

        disk.Content.Read(0, content);
        return content;
    }

    /// <summary>A chain of one image, which pays little for keys.</summary>
    private sealed class CheapLuks(ReadContext context) : IChainOpener
    {
        public ImageFile OpenExtent(ImageFile from, ImageReference reference) => throw Missing(reference);

        public VirtualDisk OpenParent(ImageFile from, ImageReference reference) => throw Missing(reference);

        public IBlockSource OpenLuks(IBlockSource header, IBlockSource? payload) => LuksFormat.OpenPayload(header, payload, LuksReading.Cheap, context);

        private static DiskFormatException Missing(ImageReference reference) => new(Fault.MissingParent, "test", -1, reference.Display);
    }

    private static void AssertEqualsExpected(Scratch scratch, string? format)
    {
        byte[] expected = File.ReadAllBytes(scratch["expected"]);
        IReadOnlyList<CoverageGap> gaps = Qcow2.InFolder(
            scratch.Folder,
            "d.qcow2",
            disk =>
            {
                Assert.Equal(format ?? disk.Format, disk.Format);
                Assert.Equal(Content.Sha256OfFile(scratch["expected"]), disk.Content.Sha256(step: 1_000_003));
                AssertSlices(disk, expected);
            },
            "wrong",
            "abc");
        Assert.Empty(gaps);
    }

    private static void AssertSlices(VirtualDisk disk, byte[] expected)
    {
        var random = new Random(3);
        byte[] buffer = new byte[40_000];
        for (int i = 0; i < 500; i++)
        {
            int at = random.Next(expected.Length);
            Span<byte> part = buffer.AsSpan(0, Math.Min(random.Next(1, 1 << random.Next(1, 15)), expected.Length - at));
            disk.Content.Read(at, part);
            Assert.True(part.SequenceEqual(expected.AsSpan(at, part.Length)), $"other bytes at {at}");
        }
    }
}
