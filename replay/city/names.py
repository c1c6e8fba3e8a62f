"""The places of the demo city: key, Chinese, English and (where every word of it is common usage) Tibetan name, position.

Positions are WGS-84 and rough. Tibetan names are put together from dictionary words (railway station, university,
museum ...), they are not copies of official signs; a place whose name would have to be transcribed by ear has none.
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    key: str
    zh: str
    en: str
    bo: str
    """empty where no Tibetan name is given"""
    lon: float
    lat: float


_TABLE = """
lanhua      兰州石化      Lanzhou Petrochemical              -                                      103.6010 36.0930
xgpark      西固公园      Xigu Park                          -                                      103.6080 36.0905
xgcross     西固什字      Xigu Shizi                         -                                      103.6150 36.0900
shandan     山丹街        Shandan Street                     -                                      103.6215 36.0894
fuli        福利路        Fuli Road                          -                                      103.6285 36.0888
heshui      合水路        Heshui Road                        -                                      103.6355 36.0882
zhuanglang  庄浪路        Zhuanglang Road                    -                                      103.6425 36.0876
huagong     化工街        Huagong Street                     -                                      103.6495 36.0870
yumen       玉门街        Yumen Street                       -                                      103.6570 36.0862
chenguan    陈官营        Chenguanying                       -                                      103.6645 36.0855
cuijiaya    崔家崖        Cuijiaya                           -                                      103.6720 36.0845
shengou     深沟桥        Shengouqiao                        -                                      103.6795 36.0830
cuijiatan   崔家大滩      Cuijiadatan                        -                                      103.6870 36.0810
aoti        奥体中心      Olympic Sports Centre              ཨོ་ལིམ་ཕིག་ལུས་རྩལ་ལྟེ་གནས།              103.6945 36.0790
shiji       世纪大道      Shiji Avenue                       -                                      103.7020 36.0772
xiuchuan    秀川          Xiuchuan                           -                                      103.7100 36.0750
wuwei       武威路        Wuwei Road                         -                                      103.7180 36.0728
xijinxi     西津西路      Xijin West Road                    -                                      103.7255 36.0712
wujiayuan   吴家园        Wujiayuan                          -                                      103.7330 36.0698
tumendun    土门墩        Tumendun                           -                                      103.7405 36.0686
xizhan      兰州西站      Lanzhou West Railway Station       ལན་གྲུ་ནུབ་མེ་འཁོར་འབབ་ཚུགས།             103.7480 36.0672
xzcross     西站什字      Xizhan Shizi                       ནུབ་འབབ་ཚུགས་བཞི་མདོ།                  103.7555 36.0664
huoxing     火星街        Huoxing Street                     -                                      103.7620 36.0660
jianlan     建兰路        Jianlan Road                       -                                      103.7680 36.0657
qilihe      七里河        Qilihe                             -                                      103.7735 36.0655
museum      省博物馆      Gansu Provincial Museum            ཞིང་ཆེན་རྟེན་རྫས་བཤམས་མཛོད་ཁང་།          103.7800 36.0650
xiaoxihu    小西湖        Xiaoxihu                           -                                      103.7870 36.0646
shangxiyuan 上西园        Shangxiyuan                        -                                      103.7930 36.0640
wenhuagong  文化宫        Workers' Cultural Palace           -                                      103.7995 36.0634
jiefangmen  解放门        Jiefangmen                         -                                      103.8060 36.0628
xiguan      西关什字      Xiguan Shizi                       -                                      103.8130 36.0622
yongchang   永昌路        Yongchang Road                     -                                      103.8180 36.0600
shuangcheng 双城门        Shuangchengmen                     -                                      103.8225 36.0582
nanguan     南关什字      Nanguan Shizi                      -                                      103.8280 36.0568
jingning    静宁路        Jingning Road                      -                                      103.8340 36.0556
dongfang    东方红广场    Dongfanghong Square                -                                      103.8395 36.0545
nongmin     农民巷        Nongmin Lane                       -                                      103.8455 36.0533
panxuan     盘旋路        Panxuan Road                       -                                      103.8515 36.0520
hospital    省人民医院    Provincial People's Hospital       ཞིང་ཆེན་མི་དམངས་སྨན་ཁང་།                 103.8590 36.0516
wulipu      五里铺        Wulipu                             -                                      103.8665 36.0512
qixiang     省气象局      Provincial Weather Service         ཞིང་ཆེན་གནམ་གཤིས་ཅུད།                   103.8745 36.0508
gongxing    拱星墩        Gongxingdun                        -                                      103.8825 36.0503
duanjiatan  段家滩        Duanjiatan                         -                                      103.8900 36.0500
jiaojia     焦家湾        Jiaojiawan                         -                                      103.8975 36.0496
shengouzi   深沟子        Shengouzi                          -                                      103.9055 36.0492
donggang    东岗          Donggang                           -                                      103.9135 36.0488
daqingshan  大青山        Daqingshan                         -                                      103.9215 36.0484
province    省政府        Provincial Government              ཞིང་ཆེན་སྲིད་གཞུང་།                      103.8205 36.0630
guangwu     广武门        Guangwumen                         -                                      103.8280 36.0622
jingningbei 静宁北路      Jingning North Road                -                                      103.8345 36.0616
mingcheng   名城广场      Mingcheng Square                   -                                      103.8440 36.0628
duzhe       读者大道      Duzhe Avenue                       -                                      103.8545 36.0640
weiyuan     渭源路        Weiyuan Road                       -                                      103.8530 36.0575
ytpark      雁滩公园      Yantan Park                        -                                      103.8640 36.0662
yantan      雁滩          Yantan                             -                                      103.8720 36.0690
yanbei      雁北路        Yanbei Road                        -                                      103.8795 36.0715
gaoxin      高新区        High-tech Zone                     -                                      103.8870 36.0700
songjiatan  宋家滩        Songjiatan                         -                                      103.8940 36.0665
yanerwan    雁儿湾        Yan'erwan                          -                                      103.9005 36.0620
interchange 东岗立交桥    Donggang Interchange               -                                      103.9070 36.0560
zhangsutan  张苏滩        Zhangsutan                         -                                      103.8760 36.0635
jiayuguan   嘉峪关路      Jiayuguan Road                     -                                      103.8785 36.0570
railway     火车站        Railway Station                    མེ་འཁོར་འབབ་ཚུགས།                       103.8470 36.0385
tianshuinan 天水南路      Tianshui South Road                -                                      103.8485 36.0428
landa       兰州大学      Lanzhou University                 ལན་གྲུ་སློབ་གྲྭ་ཆེན་མོ།                   103.8500 36.0472
pingliang   平凉路        Pingliang Road                     -                                      103.8400 36.0400
gaolan      皋兰路        Gaolan Road                        -                                      103.8335 36.0415
wqsquare    五泉广场      Wuquan Square                      -                                      103.8260 36.0430
wuquan      五泉山        Wuquan Mountain                    -                                      103.8225 36.0390
minzhu      民主西路      Minzhu West Road                   -                                      103.8350 36.0484
anding      安定门        Andingmen                          -                                      103.8262 36.0478
jiuquan     酒泉路        Jiuquan Road                       -                                      103.8270 36.0524
baiyin      白银路        Baiyin Road                        -                                      103.8195 36.0505
zhongshanl  中山林        Zhongshanlin                       -                                      103.8130 36.0545
hualin      华林路        Hualin Road                        -                                      103.8055 36.0560
xiaxiyuan   下西园        Xiaxiyuan                          -                                      103.7965 36.0585
hualinping  华林坪        Hualinping                         -                                      103.8085 36.0505
fulong      伏龙坪        Fulongping                         -                                      103.8065 36.0455
dingxi      定西路        Dingxi Road                        -                                      103.8560 36.0420
minda       西北民族大学  Northwest Minzu University         ནུབ་བྱང་མི་རིགས་སློབ་གྲྭ་ཆེན་མོ།            103.8635 36.0455
baishu      柏树巷        Baishu Lane                        -                                      103.7560 36.0605
gongjiawan  龚家湾        Gongjiawan                         -                                      103.7485 36.0560
yanjiaping  晏家坪        Yanjiaping                         -                                      103.7400 36.0515
pengjiaping 彭家坪        Pengjiaping                        -                                      103.7300 36.0490
jiangou     硷沟沿        Jiangouyan                         -                                      103.7695 36.0595
langong     兰工坪        Langongping                        -                                      103.7760 36.0560
ligong      兰州理工大学  Lanzhou University of Technology   -                                      103.7830 36.0570
mother      黄河母亲      Yellow River Mother                རྨ་ཆུའི་ཨ་མ།                              103.7960 36.0680
baiyun      白云观        Baiyunguan                         -                                      103.8040 36.0662
zsbridge    中山桥        Zhongshan Bridge                   ཀྲུང་ཧྲན་ཟམ་པ།                           103.8110 36.0655
waterwheel  水车博览园    Waterwheel Park                    ཆུ་འཁོར་སྤྱི་གླིང་།                        103.8255 36.0650
matan       马滩          Matan                              -                                      103.7290 36.0780
yintan      银滩路        Yintan Road                        -                                      103.7355 36.0975
qlhsouth    七里河桥南    Qilihe Bridge South                -                                      103.7735 36.0725
qlhnorth    七里河桥北    Qilihe Bridge North                -                                      103.7735 36.0860
shajing     沙井驿        Shajingyi                          -                                      103.6420 36.1165
hewan       河湾堡        Hewanbu                            -                                      103.6510 36.1158
garden      植物园        Botanical Garden                   རྩི་ཤིང་སྤྱི་གླིང་།                        103.6600 36.1150
anningbu    安宁堡        Anningbu                           -                                      103.6690 36.1140
renshou     仁寿山        Renshou Mountain                   -                                      103.6770 36.1130
liujiabao   刘家堡        Liujiabao                          -                                      103.6850 36.1120
yingmen     迎门滩        Yingmentan                         -                                      103.6930 36.1110
anninggov   安宁区政府    Anning District Government         ཨན་ཉིང་ཆུས་སྲིད་གཞུང་།                   103.7010 36.1100
nongda      甘肃农业大学  Gansu Agricultural University      ཀན་སུའུ་ཞིང་ལས་སློབ་གྲྭ་ཆེན་མོ།             103.7090 36.1090
peili       培黎广场      Peili Square                       -                                      103.7170 36.1078
jiaoda      兰州交通大学  Lanzhou Jiaotong University        ལན་གྲུ་འགྲིམ་འགྲུལ་སློབ་གྲྭ་ཆེན་མོ།           103.7245 36.1062
feijiaying  费家营        Feijiaying                         -                                      103.7320 36.1045
shida       西北师范大学  Northwest Normal University        ནུབ་བྱང་དགེ་ཐོན་སློབ་གྲྭ་ཆེན་མོ།            103.7395 36.1025
kongjiaya   孔家崖        Kongjiaya                          -                                      103.7465 36.1000
shuigua     水挂庄        Shuiguazhuang                      -                                      103.7530 36.0975
shilidian   十里店        Shilidian                          -                                      103.7595 36.0945
slbridge    十里店桥      Shilidian Bridge                   -                                      103.7665 36.0905
xujiawan    徐家湾        Xujiawan                           -                                      103.7850 36.0805
jincheng    金城关        Jinchengguan                       -                                      103.7960 36.0758
baita       白塔山公园    Baita Mountain Park                མཆོད་རྟེན་དཀར་པོའི་སྤྱི་གླིང་།             103.8075 36.0730
miaotan     庙滩子        Miaotanzi                          -                                      103.8190 36.0725
caochang    草场街        Caochang Street                    -                                      103.8290 36.0728
yanchang    盐场堡        Yanchangbu                         -                                      103.8390 36.0748
jingyuan    靖远路        Jingyuan Road                      -                                      103.8365 36.0785
dashaping   大沙坪        Dashaping                          -                                      103.8330 36.0825
yanchangrd  盐场路        Yanchang Road                      -                                      103.8490 36.0795
qingbaishi  青白石        Qingbaishi                         -                                      103.8610 36.0850
ytnorth     雁滩桥北      Yantan Bridge North                -                                      103.8705 36.0872
"""


def _read(table: str) -> tuple[Place, ...]:
    places = []
    for line in table.strip().splitlines():
        key, zh, rest = line.split(None, 2)
        rest, lon, lat = rest.rsplit(None, 2)
        en, bo = (part.strip() for part in rest.rsplit(None, 1))
        places.append(Place(key, zh, en, "" if bo == "-" else bo, float(lon), float(lat)))
    return tuple(places)


PLACES = _read(_TABLE)
